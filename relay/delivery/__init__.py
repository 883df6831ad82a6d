"""Outbox to backend: what is due is claimed, signed, posted, and settled."""
