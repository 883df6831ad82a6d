"""The checks of a receiver, by their matter: who asks, what is signed, what comes again, and what an event holds."""
