"""The outbox: every event and every attempt, on disk. `base` is the contract, the other modules are dialects."""
