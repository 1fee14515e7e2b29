"""What a bench file says of a device under test: a device that is somebody else's, and real.

Source: DESIGN, "What it promises to the outside" (`dut = true`); the keys are those with which its
maker describes it. It needs no radio here, since it has one of its own, and the hub one that the
device can hear.

    [[device]]
    id = "bridge"                       kind = "bridge-1"
    dut = true                          eui64 = "00-DB-12-34-56-78-90-B1"
    install_code = "83FED3407A93…"      (16 octets, or 18 with the CRC that is printed on it)
    certificates = "for-the-bridge"     (what `hanbench pki issue` wrote; without, the run's own)
    manufacturer_code = 0x121D          image_type = 0x0084
    hardware_version = 0x1111           model = "00841111"
    version = "00010100"                (what it runs when it comes to the bench)
    image = "new.ota"                   image_back = "back.ota"
    claims = ["resumes"]                (what it says it can: `CLAIMS`)
    power = "prompt"                    or "labgrid:PLACE", or { on = "…", off = "…" }
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo

from emulator.zigbee.security import install_code_crc
from firmware_images.samples import ProductIdentity, identity
from hil.toml_file import Problem, Table, Text, Whole, dotted
from hil.toml_lines import KeyPath

CLAIMS = {
    "verifies-images": "it refuses a file whose signature or hash does not hold",
    "resumes": "after a power cut it goes on loading where it was",
    "block-period": "it keeps to the minimum block period it is given",
    "downgrade": "it takes an image of a lower version than it runs",
}
Claim = Literal["verifies-images", "resumes", "block-period", "downgrade"]

_EUI64 = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{2}(?:[-:][0-9A-Fa-f]{2}){7}")
_HEX_8 = r"^[0-9A-Fa-f]{8}$"
_LABGRID = re.compile(r"labgrid:\S+")
INSTALL_CODE_OCTETS = 16


def _read_eui64(value: object) -> int:
    if not isinstance(value, str) or not _EUI64.fullmatch(value):
        raise ValueError
    return int(re.sub("[-:]", "", value), 16)


def _read_install_code(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError
    code = bytes.fromhex(value)
    if len(code) == INSTALL_CODE_OCTETS + 2:
        code, crc = code[:-2], code[-2:]
        if install_code_crc(code) != crc:
            raise ValueError
    if len(code) != INSTALL_CODE_OCTETS:
        raise ValueError
    return code


def _read_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return Path((info.context or {}).get("folder", "."), value)


class PowerCommands(Table):
    """Shell commands that switch the device on and off."""

    on: Text = Field(min_length=1, description="a command for the shell")
    off: Text = Field(min_length=1, description="a command for the shell")


def _read_power(value: object) -> str | PowerCommands:
    if isinstance(value, dict):
        return PowerCommands.model_validate(value)
    if value == "prompt" or (isinstance(value, str) and _LABGRID.fullmatch(value)):
        return str(value)
    raise ValueError


Eui64 = Annotated[int, PlainValidator(_read_eui64)]
InstallCode = Annotated[bytes, PlainValidator(_read_install_code)]
DutPath = Annotated[Path, PlainValidator(_read_path)]
PowerOf = Annotated[str | PowerCommands, PlainValidator(_read_power)]

_CODE = "a number of 16 bits, such as 0x121D"


def _of_dut(says: str, **limits: Any) -> Any:
    return Field(default=None, description=says, **limits)


class DutTable(Table):
    """The keys of `[[device]]` that only a device under test has."""

    dut: bool = Field(default=False, strict=True, description="true or false")
    eui64: Eui64 | None = _of_dut('an EUI-64 such as "00-DB-12-34-56-78-90-A4"')
    install_code: InstallCode | None = Field(
        default=None,
        repr=False,
        description="16 octets in hexadecimal, or 18 with their CRC",
    )
    certificates: DutPath | None = _of_dut("the folder that hanbench pki issue wrote")
    manufacturer_code: Whole | None = _of_dut(_CODE, ge=0, le=0xFFFF)
    image_type: Whole | None = _of_dut(_CODE, ge=0, le=0xFFFF)
    hardware_version: Whole | None = _of_dut(_CODE, ge=0, le=0xFFFF)
    model: Text | None = _of_dut("8 hexadecimal digits, as the CPL has it", pattern=_HEX_8)
    version: Text | None = _of_dut("8 hexadecimal digits: what it runs", pattern=_HEX_8)
    image_back: DutPath | None = _of_dut("the path of an OTA file that leads back")
    claims: tuple[Claim, ...] = Field(
        default=(), description="a list of " + ", ".join(f'"{name}"' for name in CLAIMS)
    )
    power: PowerOf = Field(
        default="prompt",
        description='"prompt", "labgrid:PLACE" or { on = "command", off = "command" }',
    )

    def product(self, kind: str) -> ProductIdentity:
        """Whose images it takes: by its own codes, or those of the built-in product."""
        known = identity(kind)
        hardware = self.hardware_version
        return ProductIdentity(
            kind,
            known.manufacturer_code if self.manufacturer_code is None else self.manufacturer_code,
            known.image_type if self.image_type is None else self.image_type,
            known.hardware_version if hardware is None else hardware,
            (self.model or known.model).upper(),
        )


_NEEDED = ("eui64", "install_code", "version", "image")


def dut_problems(path: KeyPath, device: DutTable, *, hub_is_emulated: bool) -> Iterator[Problem]:
    """What of a device's keys does not go together."""
    given = [name for name in DutTable.model_fields if name in device.model_fields_set]
    name = dotted(path)
    if not device.dut:
        for key in given:
            if key != "dut":
                yield (*path, key), f"{name}.{key} is for a device under test: say dut = true too"
        return
    for key in _NEEDED:
        if getattr(device, key) is None:
            yield path, f"{name}.{key} is missing: a device under test needs it"
    if "radio" in device.model_fields_set:
        sentence = f"{name}.radio: a device under test has a radio of its own; leave it out"
        yield (*path, "radio"), sentence
    if hub_is_emulated:
        sentence = f"{name} is a device under test, and hub.radio is emulated: it cannot hear it"
        yield (*path, "dut"), sentence
    if device.image_back is not None and not device.image_back.is_file():
        sentence = f"{name}.image_back is {str(device.image_back)!r}, and there is no such file"
        yield (*path, "image_back"), sentence
    if device.certificates is not None and not device.certificates.is_dir():
        sentence = (
            f"{name}.certificates is {str(device.certificates)!r}, and there is no such folder"
        )
        yield (*path, "certificates"), sentence
