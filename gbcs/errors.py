"""What is wrong with a frame, a certificate or a WAN message: its sender's fault, or the caller's.

Source: DESIGN, "Sans-io cores, thin shells": errors carry the place, and nothing else escapes.
"""

from __future__ import annotations


class GbcsError(Exception):
    """The octets break the rule: `thing` is what was read, `field` and `offset` are the place."""

    def __init__(self, thing: str, field: str, offset: int, problem: str) -> None:
        super().__init__(f"{thing}: {field} at offset {offset} {problem}")
        self.thing = thing
        self.field = field
        self.offset = offset


class GbcsValueError(ValueError):
    """The caller asked for a frame, a certificate or a message that cannot exist."""


def require_unsigned(name: str, value: int, octets: int) -> None:
    """Refuse a number that its field cannot hold."""
    if not 0 <= value < 1 << 8 * octets:
        raise GbcsValueError(f"{name} {value:#x} does not fit in {octets} octet(s)")
