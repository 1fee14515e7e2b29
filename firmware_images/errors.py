"""What is wrong with an image: the file broke the rule, or the caller did.

Source: DESIGN, "Sans-io cores, thin shells": errors carry the place, and nothing else escapes.
"""

from __future__ import annotations


class ImageError(Exception):
    """The file breaks the ZSE OTA file format, or a limit set for it."""

    def __init__(self, name: str, field: str, offset: int, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.field = field
        self.offset = offset


class ImageValueError(ValueError):
    """The caller asked for an image, a header or a limit that cannot exist."""
