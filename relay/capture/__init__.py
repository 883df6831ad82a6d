"""Moodle to outbox: one pass over the log, and the current rows that a person asks to be sent."""
