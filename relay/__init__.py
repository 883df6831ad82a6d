"""Delivers what happens in a Moodle site to a college's backend: at least once, signed, and accounted for."""

__version__ = "0.1.0"
