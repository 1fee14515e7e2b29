"""The files that make up one device's firmware, and which of them is under way.

Source: ZigBee Cluster Library 07-5123-06, chapter 11 (OTA Upgrade), Upgrade End Request with
REQUIRE_MORE_IMAGE: a file that is good and of no use without another, of another image type. Each
has memory of its own; they are loaded in order, and activated together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from emulator.devices.flash import Flash
from emulator.devices.ota_rules import OtaClientIdentity


class Part(NamedTuple):
    """A further file: its image type, and where it is stored."""

    image_type: int
    flash: Flash


class Parts:
    """Of one device. The first is the one its version is told by."""

    def __init__(
        self, identity: OtaClientIdentity, flash: Flash, further: Sequence[Part] = ()
    ) -> None:
        self.identity = identity
        self.flash = flash
        self._first = identity
        self._first_flash = flash
        self._further = tuple(further)
        self._at = 0

    @property
    def is_last(self) -> bool:
        return self._at == len(self._further)

    @property
    def is_first(self) -> bool:
        return self._at == 0

    def next(self) -> None:
        """What is asked for from now on is the next file."""
        self._at += 1
        part = self._further[self._at - 1]
        self.flash = part.flash
        version = part.flash.running.file_version
        self.identity = replace(self._first, image_type=part.image_type, file_version=version)

    def begin_again(self) -> None:
        """What is asked for from now on is the first file."""
        self._at = 0
        self.identity, self.flash = self._first, self._first_flash

    def know_eui64(self, eui64: int) -> None:
        self._first = replace(self._first, eui64=eui64)
        self.identity = replace(self.identity, eui64=eui64)
