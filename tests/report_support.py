"""An evidence folder as a run leaves it, made by real stacks on an air and by the GBCS encoders.

Small, and with everything a report has to show: two devices join, the supplier is answered, each
device is sent an image block by block, its alert goes through the tunnel in fragments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from air_support import CHANNEL, NETWORK_KEY, SMART_ENERGY, Air, StackHost, form, join, link_key

from emulator.medium.pcapng import PcapngWriter
from emulator.zigbee import ota, tunnelling, zcl
from emulator.zigbee.events import (
    OPTION_ENCRYPTION,
    OPTION_FRAGMENT,
    OPTION_RETRY,
    Aps,
    MessageReceived,
)
from emulator.zigbee.fragments import split
from gbcs.codes import Payload, build_payload
from gbcs.device_log import AddDevice, AddDeviceResult
from gbcs.envelope import Cra, Frame, OtherInformation, build_frame
from gbcs.firmware import (
    ActivateImageResult,
    FirmwareActivation,
    FirmwareVersion,
    ReadFirmwareVersion,
    TransferResult,
    transfer_alert,
)
from gbcs.wan import CommandForDevice, ImageOffer, MessageFromDevice, WanMessage, serialise
from hil.air_log import AirKeys
from hil.evidence import Evidence
from hil.verdict import Alert, Check, DeviceVerdict, ReadBack, Requirement, Verdict

ACB = 0x90B3D51F30000002
HUB = 0x00DB1234567890A2
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = 0x00010100, 0x00010200
BLOCK_OCTETS = 56
IMAGE = bytes(range(256)) * 4
DEVICES = {"ppmid": 0x00DB1234567890A4, "bridge-1": 0x00DB1234567890B1}
INSTALL_CODE = bytes(range(0x60, 0x70))
REPEAT = "hanbench run --seed 7 --ezsp 14"

_CLUSTER_OPTIONS = OPTION_ENCRYPTION | OPTION_RETRY


@dataclass
class Bench:
    """What a run has at hand while it writes its evidence."""

    folder: Path
    image: bytes = IMAGE
    hook: Callable[[str, str], None] | None = None
    air: Air = field(default_factory=lambda: Air(3))
    files: dict[str, int] = field(default_factory=dict)
    counters: dict[int, int] = field(default_factory=dict)
    alerts: dict[str, list[str]] = field(default_factory=dict)
    pointers: dict[str, list[str]] = field(default_factory=dict)
    blocks: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self.evidence = Evidence(self.folder, epoch=EPOCH)
        self.hub = form(self.air)
        self.devices: dict[str, StackHost] = {}

    # -- the evidence --------------------------------------------------------------------------

    def tell(self, event_type: str, **fields: object) -> int:
        time_s = self.air.clock.now_us() / 1e6
        return self.evidence.record({"type": event_type, "time_s": time_s, **fields})

    def file(self, folder: str, name: str, octets: bytes) -> str:
        number = self.files[folder] = self.files.get(folder, 0) + 1
        path = f"{folder}/{number:04d}-{name}"
        self.evidence.write(path, octets)
        return path

    def duis(
        self,
        kind: str,
        devices: Sequence[str],
        *,
        service: str | None = None,
        code: str | None = None,
        element: str | None = None,
        detail: str = "",
    ) -> int:
        what = service or code
        return self.tell(
            "duis",
            kind=kind,
            service=service,
            request_id=None if service is None else self.request_id(kind),
            code=code,
            element=element,
            device_ids=list(devices),
            file=self.file("duis", f"{what}-{kind}.xml", b"<signed/>"),
            detail=detail,
        )

    def request_id(self, kind: str) -> str:
        """That of a request of its own, or of the last one."""
        self.requests += kind == "request"
        return f"90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:{self.requests}"

    def wan(self, message: WanMessage, devices: Sequence[str], detail: str = "") -> int:
        down = not isinstance(message, MessageFromDevice)
        octets = serialise(message)
        return self.tell(
            "wan",
            kind=type(message).__name__,
            direction="to-hub" if down else "to-dsp",
            device_ids=list(devices),
            file=self.file("wan", f"{type(message).__name__}.bin", octets),
            octets=len(octets),
            detail=detail,
        )

    def gbcs(self, code: int, use_case: str, cra: Cra, device: str, payload: Payload) -> bytes:
        """A frame and the WAN message that carries it; nobody checks what protects it."""
        eui64 = HUB if device == "hub" else DEVICES[device]
        originator, recipient = (ACB, eui64) if cra is Cra.COMMAND else (eui64, ACB)
        counter = self.counters[code] = self.counters.get(code, 1299) + (cra is not Cra.RESPONSE)
        signed = cra is Cra.ALERT
        frame = Frame(
            cra=cra,
            originator_counter=counter,
            originator=originator,
            recipient=recipient,
            other_information=OtherInformation(code),
            payload=build_payload(payload),
            signature=bytes(range(128, 192)) if signed else b"",
            mac=None if signed else bytes(12),
        )
        octets = build_frame(frame)
        if cra is Cra.COMMAND:
            self.wan(CommandForDevice(HUB, eui64, 1, octets), [device])
        else:
            self.wan(MessageFromDevice(HUB, eui64, octets), [device])
        file = self.file("gbcs", f"{use_case}-{cra.name.lower()}.HEX", octets.hex().encode())
        self.tell(
            "gbcs",
            use_case=use_case,
            cra=cra.name.lower(),
            message_code=f"{code:04X}",
            originator=f"{originator:016X}",
            recipient=f"{recipient:016X}",
            originator_counter=counter,
            device_id=device,
            direction="to-device" if cra is Cra.COMMAND else "to-dsp",
            file=file,
            octets=len(octets),
            signature="valid" if signed else "absent",
            mac="absent" if signed else "valid",
            detail="",
        )
        if cra is Cra.ALERT:
            self.pointers.setdefault(device, []).append(file)
        return octets

    # -- the air -------------------------------------------------------------------------------

    def send(self, sender: StackHost, receiver: StackHost, cluster: int, data: bytes) -> None:
        sender.send(receiver, data, Aps(SMART_ENERGY, cluster, 1, 1, _CLUSTER_OPTIONS, 0))
        self.air.clock.run_for(0.02)

    def send_ota(
        self, sender: StackHost, receiver: StackHost, command_id: int, command: ota.OtaCommand
    ) -> None:
        control = zcl.RESPONSE if sender is self.hub else zcl.REQUEST
        frame = zcl.ZclFrame(control, 1, command_id, ota.build(command))
        self.send(sender, receiver, ota.CLUSTER_ID, zcl.build(frame))

    def send_in_tunnel(self, sender: StackHost, receiver: StackHost, message: bytes) -> None:
        """Transfer Data in fragments, each acknowledged as the host at the other end does."""
        to_client = sender is not self.hub
        command_id = (
            tunnelling.TRANSFER_DATA_TO_CLIENT if to_client else tunnelling.TRANSFER_DATA_TO_SERVER
        )
        payload = tunnelling.build(tunnelling.TransferData(0, message))
        control = zcl.RESPONSE if to_client else zcl.REQUEST
        data = zcl.build(zcl.ZclFrame(control, 9, command_id, payload))
        options = _CLUSTER_OPTIONS | OPTION_FRAGMENT
        blocks = split(data, sender.stack.aps.max_payload_octets(options))
        counter = 0
        for index, block in enumerate(blocks):
            group = len(blocks) << 8 | index
            address = Aps(SMART_ENERGY, tunnelling.CLUSTER_ID, 1, 1, options, group, counter)
            to = receiver.stack.short_address
            _, counter = sender.stack.aps.send_unicast(to, address, block, index)
            self.air.clock.run_for(0.05)
            heard = receiver.events[-1]
            assert isinstance(heard, MessageReceived)
            reply = heard.aps._replace(group=0xFF << 8 | index)
            receiver.stack.aps.acknowledge_fragment(sender.stack.short_address, reply)
            self.air.clock.run_for(0.05)

    # -- the run -------------------------------------------------------------------------------

    def start(self) -> None:
        self.tell(
            "run-started",
            seed=7,
            clock="virtual",
            ezsp=14,
            faults=[],
            devices=[
                {"device_id": name, "kind": name, "size_bytes": len(self.image)} for name in DEVICES
            ],
        )
        self.tell(
            "network-formed", pan_id="1A62", extended_pan_id="00DB1234567890A3", channel=CHANNEL
        )

    def admit(self, name: str) -> None:
        eui64 = DEVICES[name]
        self.duis("request", [name], service="12.2")
        self.duis("acknowledgement", [name], service="12.2", code="I0")
        self.duis("request", [name], service="8.11")
        self.duis("acknowledgement", [name], service="8.11", code="I99")
        add = AddDevice(1, eui64, INSTALL_CODE, 90)
        self.gbcs(0x0001, "CCS01", Cra.COMMAND, "hub", add)
        self.gbcs(0x0001, "CCS01", Cra.RESPONSE, "hub", AddDeviceResult(1))
        self.duis("response", ["hub"], service="8.11", code="I0")  # its target is the hub
        device = self.devices[name] = join(self.air, self.hub, name, eui64)
        node_id = f"{device.stack.short_address:04X}"
        self.tell("joined", device_id=name, eui64=f"{eui64:016X}", node_id=node_id)
        self.tell("tunnel", device_id=name, state="open")

    def update(self, name: str) -> None:
        device = self.devices[name]
        ids = (0x121D, 0x0084, NEW)
        self.duis("request", [name], service="11.4")
        accepted = self.duis("acknowledgement", [name], service="11.4", code="I99")
        self.wan(ImageOffer(HUB, 1, (DEVICES[name],), self.image), [name], "image for 1 device(s)")
        self.duis("alert", [name], code="N999", element="CSPFirmwareDeliveryStatus")
        self.tell(
            "image-offered",
            device_id=name,
            version=f"{NEW:08X}",
            size_bytes=len(self.image),
            sha256="0" * 64,
        )
        self.send_ota(self.hub, device, ota.IMAGE_NOTIFY, ota.ImageNotify(100, *ids))
        query = ota.QueryNextImageRequest(0x121D, 0x0084, OLD, 0x1111)
        self.send_ota(device, self.hub, ota.QUERY_NEXT_IMAGE_REQUEST, query)
        answer = ota.QueryNextImageResponse(0, *ids, len(self.image))
        self.send_ota(self.hub, device, ota.QUERY_NEXT_IMAGE_RESPONSE, answer)
        version, size = f"{NEW:08X}", len(self.image)
        self.tell("transfer-started", device_id=name, version=version, size_bytes=size)
        blocks = 0
        for offset in range(0, size, BLOCK_OCTETS):
            data = self.image[offset : offset + BLOCK_OCTETS]
            request = ota.ImageBlockRequest(*ids, offset, BLOCK_OCTETS)
            self.send_ota(device, self.hub, ota.IMAGE_BLOCK_REQUEST, request)
            response = ota.ImageBlockResponse(*ids, offset, data)
            self.send_ota(self.hub, device, ota.IMAGE_BLOCK_RESPONSE, response)
            blocks += 1
            self.tell(
                "progress",
                device_id=name,
                offset_bytes=offset + len(data),
                size_bytes=size,
                percent=100 * (offset + len(data)) // size,
                blocks=blocks,
            )
            if self.hook is not None and blocks == 10:
                self.hook(name, "block 10")
        self.blocks = blocks
        end = ota.UpgradeEndRequest(0, *ids)
        self.send_ota(device, self.hub, ota.UPGRADE_END_REQUEST, end)
        upgrade = ota.UpgradeEndResponse(*ids, 0, 0)
        self.send_ota(self.hub, device, ota.UPGRADE_END_RESPONSE, upgrade)
        self.tell("transfer-done", device_id=name, blocks=blocks, bytes=size, sha256="0" * 64)
        now = EPOCH + timedelta(seconds=60)
        done = TransferResult.FILE_TRANSFER_SUCCESS
        transfer = transfer_alert(DEVICES[name], NEW, done, now)
        self.gbcs(0x0128, "CCS08", Cra.ALERT, "hub", transfer)
        detail = "FileTransferSuccess"
        self.duis("alert", [name], code="8F8A", element="CommsHubAlert", detail=detail)
        self.tell("restarted", device_id=name, version=version)
        activation = FirmwareActivation(now, NEW, ActivateImageResult.ACTIVATION_SUCCESS)
        message = self.gbcs(0x012B, "CS09", Cra.ALERT, name, activation)
        self.send_in_tunnel(device, self.hub, message)
        n39 = self.duis(
            "alert", [name], code="N39", element="PPMIDAlert", detail="ActivationSuccess"
        )
        self.duis("request", [name], service="11.2")
        self.duis("acknowledgement", [name], service="11.2", code="I99")
        command = self.gbcs(0x0129, "CS08", Cra.COMMAND, name, ReadFirmwareVersion())
        self.send_in_tunnel(self.hub, device, command)
        self.gbcs(0x0129, "CS08", Cra.RESPONSE, name, FirmwareVersion(NEW))
        read = self.duis("response", [name], service="11.2", code="I0")
        self.tell(
            "outcome",
            device_id=name,
            outcome="activated",
            version_before=f"{OLD:08X}",
            version_after=version,
            detail="the file it runs is the file sent",
        )
        self.pointers.setdefault(name, []).extend(
            f"events.jsonl#{event}" for event in (accepted, n39, read)
        )

    def finish(self) -> Verdict:
        self.tell("run-ended", verdict="pass", wall_s=1.5, virtual_s=60)
        writer = PcapngWriter(self.evidence.open_binary("air.pcapng").write)
        epoch_us = round(EPOCH.timestamp() * 1e6)
        for start_us, psdu in self.air.frames:
            writer.frame(start_us, psdu, channel=CHANNEL, epoch_us=epoch_us)
        self.evidence.close()
        return self.verdict()

    def verdict(self) -> Verdict:
        evidence = tuple(pointer for name in DEVICES for pointer in self.pointers.get(name, ()))
        return Verdict(
            seed=7,
            clock="virtual",
            trace_hash=self.air.trace_hash(),
            wall_s=1.5,
            virtual_s=60,
            devices=tuple(
                DeviceVerdict(
                    name,
                    name,  # type: ignore[arg-type]
                    "activated",
                    f"{OLD:08X}",
                    f"{NEW:08X}",
                    "maker-signed",
                    self.blocks,
                    len(self.image),
                    "0" * 64,
                    alerts=(
                        Alert("8F8A", "CCS08", "2026-01-01T00:01:00Z", 0, True, "8F8A"),
                        Alert("8F8B", "CS09", "2026-01-01T00:01:00Z", 0, True, "N39"),
                    ),
                    read_back=ReadBack(f"{NEW:08X}", 0, True),
                )
                for name in DEVICES
            ),
            unwitnessed=("APS Transport Key of a link key",),
            checks=(Check("seed repeats", "pass", "the same trace hash"),),
            scope=("MP170-R2", "MP170-R6"),
            requirements=(
                Requirement("MP170-R2", "pass", (*evidence[:1], "air.pcapng#150")),
                Requirement("MP170-R6", "pass", evidence),
                Requirement("MP170-R1", "not-run"),
                Requirement("MP170-R9", "not-run"),
            ),
        )


KEYS = AirKeys(NETWORK_KEY, {name: link_key(eui64) for name, eui64 in DEVICES.items()})


def passed_run(folder: Path) -> tuple[Bench, Verdict]:
    bench = Bench(folder)
    bench.start()
    for name in DEVICES:
        bench.admit(name)
    for name in DEVICES:
        bench.update(name)
    return bench, bench.finish()


def failed_run(folder: Path) -> tuple[Bench, Verdict]:
    """Bridge 1 meets an anomaly at its tenth block and is not activated."""

    def trouble(name: str, _where: str) -> None:
        if name == "bridge-1":
            bench.tell("anomaly", device_id=name, kind="offset twice", detail="<b>0x1F8</b> again")
            bench.tell(
                "gbcs-discarded", where="device", device_id=name, reason="MAC", detail="forged"
            )

    bench = Bench(folder, hook=trouble)
    bench.start()
    for name in DEVICES:
        bench.admit(name)
    for name in DEVICES:
        bench.update(name)
    verdict = bench.finish()
    ppmid, bridge = verdict.devices
    lost = replace(bridge, outcome="timed-out", version_after=None, alerts=(), read_back=None)
    requirement = replace(verdict.requirements[1], verdict="fail", evidence=("events.jsonl#9999",))
    requirements = (verdict.requirements[0], requirement, *verdict.requirements[2:])
    return bench, replace(verdict, devices=(ppmid, lost), requirements=requirements)
