"""What is wrong with what the DSP was given: its sender's fault, or the caller's.

Source: DESIGN, "Sans-io cores, thin shells": errors carry the place, and nothing else escapes.
"""

from __future__ import annotations

from enum import Enum, auto


class DuisError(Exception):
    """What came from outside breaks the rule: `thing` is what was read, `place` where in it."""

    def __init__(self, thing: str, place: str, problem: str) -> None:
        super().__init__(f"{thing}: {place} {problem}")
        self.thing = thing
        self.place = place
        self.problem = problem


class DoctypeError(DuisError):
    """There is a document type declaration, and with it the means to define entities."""


class SchemaError(DuisError):
    """It is XML, and not what the schema allows."""


class SignatureReason(Enum):
    """Why a signature does not count."""

    NO_SIGNATURE = auto()
    TWO_SIGNATURES = auto()
    PROFILE = auto()  # structure, place, algorithms, transforms or URI
    NO_CERTIFICATE = auto()  # the serial number is of none that may sign XML
    DIGEST = auto()
    VALUE = auto()


class SignatureError(DuisError):
    """The XML signature is not one that counts."""

    def __init__(self, thing: str, place: str, problem: str, reason: SignatureReason) -> None:
        super().__init__(thing, place, problem)
        self.reason = reason


class DspValueError(ValueError):
    """The caller asked for something that cannot be."""
