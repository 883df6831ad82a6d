"""Valid UTF-8 of what the database gives: the first step of every cleaning (Moodle's fix_utf8). Pure."""

from __future__ import annotations

import codecs

#: NUL, and two code points that are no characters.
_DROPPED = dict.fromkeys((0, 0xFFFE, 0xFFFF))


def fix_utf8(value: bytes | str | None) -> str:
    """Return the text without NUL, U+FFFE, U+FFFF and bytes that are no UTF-8; '' for None. Never raises.

    Follows Moodle's fix_utf8 (lib/moodlelib.php), which call iconv: text that ends within a character
    is '' there, and so it is here.
    """
    if value is None:
        return ""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    if raw.isascii():
        return raw.decode("ascii").replace("\0", "")
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    text = decoder.decode(raw)
    return "" if decoder.getstate()[0] else text.translate(_DROPPED)


def as_stored(value: bytes | str | None) -> str:
    """Return the text as it is, without bytes that are no UTF-8; '' for None. Never raises.

    Moodle cleaned it when it was stored (PARAM_USERNAME): it is sent as it is.
    """
    raw = (value or "").encode("utf-8", "replace") if not isinstance(value, bytes) else value
    return raw.decode("utf-8", "ignore")
