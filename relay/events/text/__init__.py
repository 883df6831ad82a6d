"""Moodle's cleaning of text, function by function: PARAM_TEXT, PARAM_EMAIL, and the text of a feedback comment. Pure.

Text comes as the database gave it: bytes that should be UTF-8, or text, or nothing.
"""

from relay.events.text.email import param_email
from relay.events.text.html import feedback
from relay.events.text.param import param_text, shared_name
from relay.events.text.strip_tags import strip_tags
from relay.events.text.utf8 import as_stored, fix_utf8

__all__ = ["as_stored", "feedback", "fix_utf8", "param_email", "param_text", "shared_name", "strip_tags"]
