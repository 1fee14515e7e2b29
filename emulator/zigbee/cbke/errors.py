"""What is wrong with a point, a certificate or a key: its sender's fault, or the caller's.

Source: DESIGN, "Sans-io cores, thin shells": errors carry the place, and nothing else escapes.
"""

from __future__ import annotations


class CbkeError(Exception):
    """The octets break the rule: `thing` is what was read, `field` the place in it."""

    def __init__(self, thing: str, field: str, problem: str) -> None:
        super().__init__(f"{thing}: {field} {problem}")
        self.thing = thing
        self.field = field


class CbkeValueError(ValueError):
    """The caller asked for a key, a certificate or a message that cannot exist."""
