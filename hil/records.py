"""The evidence of what crossed the two interfaces of the DCC: DUIS messages, WAN messages, frames.

Source: DESIGN, "What it promises to the outside" (`duis/`, `gbcs/`, `wan/`: written as they come).
Install codes are masked in every copy: their octets, and their hexadecimal digits, become zeros. A
masked copy says so in its event, since no digest, signature or MAC over it holds any more. The
others can be verified with what is in `certificates/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gbcs.certificates import Certificate
from gbcs.codes import Payload, parse_payload, use_case
from gbcs.envelope import Cra, ReceivedFrame, parse_frame
from gbcs.errors import GbcsError
from gbcs.protection import KeyStore, Verdicts, verify
from gbcs.wan import (
    CommandForDevice,
    DeliveryOutcome,
    DeviceLogEntry,
    ImageOffer,
    MessageFromDevice,
    WanMessage,
    parse_message,
)
from hil.evidence import Evidence
from hil.key_folder import certificate_pem

CERTIFICATES = "certificates"
MASKED = "install code masked"


class Tell(Protocol):
    """Records an event and shows it; its id."""

    def __call__(self, event_type: str, /, **fields: object) -> int: ...


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A GBCS frame on the WAN, what its keys say of it, and where its copy is."""

    received: ReceivedFrame
    payload: Payload | None
    verdicts: Verdicts
    pointer: str


class Records:
    """The copies of one run. `name_of` gives the bench's id for an EUI-64."""

    def __init__(
        self,
        evidence: Evidence,
        tell: Tell,
        name_of: Callable[[int], str],
        keys: KeyStore,
    ) -> None:
        self._evidence = evidence
        self._tell = tell
        self._name_of = name_of
        self._keys = keys
        self._secrets: list[bytes] = []
        self._numbers: dict[str, int] = {}

    def hide(self, install_code: bytes) -> None:
        """Let this install code be in no copy."""
        self._secrets.append(install_code)

    def certificate(self, certificate: Certificate) -> None:
        """A certificate that signatures in the evidence are by, named as key folders name them."""
        name = f"{certificate.eui64:016x}-{certificate.use}.pem"
        self._evidence.write(f"{CERTIFICATES}/{name}", certificate_pem(certificate))

    def duis(
        self,
        kind: str,
        octets: bytes,
        *,
        what: str,
        service: str | None = None,
        request_id: str | None = None,
        code: str | None = None,
        element: str | None = None,
        devices: Sequence[int] = (),
        detail: str = "",
    ) -> int:
        """A DUIS message as it crossed the interface; `what` names its file beside the kind."""
        copy, is_masked = self._masked(octets)
        file = self._write("duis", f"{what}-{kind}.xml", copy)
        return self._tell(
            "duis",
            kind=kind,
            service=service,
            request_id=request_id,
            code=code,
            element=element,
            device_ids=[self._name_of(device) for device in devices],
            file=file,
            detail="; ".join(filter(None, (detail, MASKED if is_masked else ""))),
        )

    def wan(self, direction: str, octets: bytes) -> tuple[WanMessage | None, str, SeenFrame | None]:
        """A serialised WAN message, its copy, and the GBCS frame in it if it carries one; no
        message where the octets are none, which whoever receives them says."""
        copy, is_masked = self._masked(octets)
        try:
            message = parse_message(octets)
        except GbcsError:
            return None, self._write("wan", "unreadable.bin", copy), None
        kind = type(message).__name__
        file = self._write("wan", f"{kind}.bin", copy)
        devices = message.devices if isinstance(message, ImageOffer) else (message.device,)
        self._tell(
            "wan",
            kind=kind,
            direction=direction,
            device_ids=[self._name_of(device) for device in devices],
            file=file,
            octets=len(octets),
            detail=_wan_detail(message) or (MASKED if is_masked else ""),
        )
        if not isinstance(message, CommandForDevice | MessageFromDevice):
            return message, file, None
        return message, file, self._frame(direction, message.device, message.frame)

    def _frame(self, direction: str, device: int, octets: bytes) -> SeenFrame | None:
        try:
            received = parse_frame(octets)
        except GbcsError:
            return None  # the DSP makes a security event of it; its octets are in wan/
        frame = received.frame
        try:
            payload = parse_payload(frame.message_code, frame.cra, frame.payload)
        except GbcsError:
            payload = None
        verdicts = verify(received, self._keys)
        name = use_case(frame.message_code) or f"{frame.message_code:04X}"
        cra = frame.cra.name.lower()
        copy, is_masked = self._masked(octets)
        text = copy.hex().upper().encode() + b"\n"
        file = self._write("gbcs", f"{name}-{cra}.HEX", text)
        self._tell(
            "gbcs",
            use_case=name,
            cra=cra,
            message_code=f"{frame.message_code:04X}",
            originator=f"{frame.originator:016X}",
            recipient=f"{frame.recipient:016X}",
            originator_counter=frame.originator_counter,
            device_id=self._name_of(device),
            direction="to-device" if direction == "to-hub" else "to-dsp",
            file=file,
            octets=len(octets),
            signature=str(verdicts.signature),
            mac=str(verdicts.mac),
            detail=MASKED if is_masked else "",
        )
        return SeenFrame(received, payload, verdicts, file)

    def _write(self, folder: str, name: str, octets: bytes) -> str:
        number = self._numbers[folder] = self._numbers.get(folder, 0) + 1
        file = f"{folder}/{number:04d}-{name}"
        self._evidence.write(file, octets)
        return file

    def _masked(self, octets: bytes) -> tuple[bytes, bool]:
        masked = octets
        for secret in self._secrets:
            masked = masked.replace(secret, bytes(len(secret)))
            digits = re.escape(secret.hex().encode())
            masked = re.sub(digits, b"0" * (2 * len(secret)), masked, flags=re.IGNORECASE)
        return masked, masked != octets


def is_alert(seen: SeenFrame) -> bool:
    return seen.received.frame.cra is Cra.ALERT


def _wan_detail(message: WanMessage) -> str:
    match message:
        case ImageOffer():
            return f"{len(message.image)} bytes for {len(message.devices)} device(s)"
        case DeliveryOutcome():
            return message.result.name.lower()
        case DeviceLogEntry():
            return message.device_type.name
        case _:
            return ""
