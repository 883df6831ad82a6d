"""The process: loops, signals, and the one place where the parts are made."""
