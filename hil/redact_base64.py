"""Octets inside base64: found and replaced at every place they can stand, in as many letters.

Source: RFC 4648, section 4. A letter carries six bits, so what begins in the middle of somebody's
base64, or behind a letter that is none of it, is aligned in one of four ways. A text may be broken
into lines, as MIME and XML signatures do, where a line break is one of a text, of a JSON string or
of an XML attribute.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

_MIN_LETTERS = 11  # of 8 octets, without the padding
_END_OF_LINE = rb"(?:[\r\n]|\\[nr]|&#(?:1[03]|[xX]0?[aAdD]);)"
_BREAK = rb"[ \t]*(?:" + _END_OF_LINE + rb"[ \t]*)+"
_RUN = re.compile(rb"[A-Za-z0-9+/]{4,}(?:" + _BREAK + rb"[A-Za-z0-9+/]+)+|[A-Za-z0-9+/]{11,}")


def replace_inside(text: bytes, replace: Callable[[bytes], bytes]) -> bytes:
    """The text, with `replace` done on the octets of whatever is base64 in it. `replace` keeps the
    number of octets."""
    return _RUN.sub(lambda match: _replaced(match[0], replace), text)


def _replaced(run: bytes, replace: Callable[[bytes], bytes]) -> bytes:
    parts = re.split(b"(" + _BREAK + b")", run)
    letters = b"".join(parts[::2])
    if len(letters) < _MIN_LETTERS:
        return run
    new = letters
    for shift in range(4):
        new = new[:shift] + _aligned(new[shift:], replace)
    if new == letters:
        return run
    at = 0
    for index in range(0, len(parts), 2):
        part, at = new[at : at + len(parts[index])], at + len(parts[index])
        parts[index] = part
    return b"".join(parts)


def _aligned(letters: bytes, replace: Callable[[bytes], bytes]) -> bytes:
    usable = len(letters) - (len(letters) % 4 == 1)  # one letter more is no octet
    octets = base64.b64decode(letters[:usable] + b"=" * (-usable % 4))
    new = replace(octets)
    if new == octets:
        return letters
    return base64.b64encode(new)[:usable] + letters[usable:]
