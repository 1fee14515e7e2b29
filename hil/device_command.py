"""`hanbench device`: one PPMID or bridge as a process of its own, on any stick.

Source: DESIGN, "What it promises to the outside" (command line). Its radio is a serial URL, its
EUI-64 that of the stick, its keys those of a folder of `hanbench pki`. It joins the network of
`hanbench hub` with the same seed once that hub lets it in (8.11), and then does what its hub says.

    in the folder of --state   what
    -------------------------  ----------------------------------------------------------------
    flash, slot 0, slot 1      the image that runs, the one before it, the download under way
    gbcs                       counters, credentials, alerts not known to be delivered
    network                    that it has joined, or left
    joining                    that its stick was in no network when it was asked into one

Each is there before the hub or anybody who reads the lines is told of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import click

from emulator.devices import ota_client, tunnel
from emulator.devices.device import (
    Device,
    DeviceBuild,
    DeviceEvent,
    DeviceLeft,
    DeviceLost,
    DeviceUp,
    HanToJoin,
)
from emulator.devices.ezsp_node import EzspNode
from emulator.devices.flash import Flash, PagePool, Slot
from emulator.devices.gbcs_half import AlertDelivered, FrameDiscarded, GbcsMemory, Identify
from emulator.devices.node import NodeError, Role
from emulator.devices.ota_rules import OtaClientParameters
from emulator.zigbee.security import InstallCodeError, install_code_key, printed_install_code_key
from firmware_images.checks import MAX_LIMIT_KB
from firmware_images.samples import identity, verify_maker
from gbcs.codes import use_case
from gbcs.envelope import parse_frame
from hil.clock import run_real
from hil.errors import BenchBroke, RequestError
from hil.images import OLD_VERSION, maker_of
from hil.kept import Kept
from hil.ota_options import ClientTable, Personality, client_parameters
from hil.seeds import ROOT_MAX, Seeds
from hil.serving import interruption
from hil.standalone import Loss, channel_option, identities, network_settings, say, utc_now
from hil.state_folder import StateFolder
from hil.wiring import MODELS, quiet_hosts

DEFAULT_SLOT_KB = 750
_MAX_VERSION = 0xFFFFFFFE  # all ones means any version
_PRINTED_OCTETS = (8, 10, 14, 18)  # with the CRC


def _read_install_code(_context: click.Context, _parameter: click.Parameter, text: str) -> bytes:
    """The link key that follows from an install code, with or without its CRC."""
    try:
        code = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        raise click.BadParameter("an install code is hexadecimal digits") from None
    try:
        # 8 octets are a code, or one of 6 with its CRC; a CRC that fits is one.
        if len(code) in _PRINTED_OCTETS:
            try:
                return printed_install_code_key(code)
            except InstallCodeError:
                if len(code) != 8:
                    raise
        return install_code_key(code)
    except InstallCodeError as error:
        raise click.BadParameter(str(error)) from None


def _read_version(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    try:
        version = int(text, 16)
    except ValueError:
        version = 0
    if not 0 < version <= _MAX_VERSION:
        raise click.BadParameter(f"{text!r} is no file version such as {OLD_VERSION:08X}")
    return version


@click.command("device", short_help="One PPMID or bridge on a stick.")
@click.option("--radio", required=True, metavar="URL", help="/dev/ttyUSB0, tcp://HOST:PORT, …")
@click.option("--kind", type=click.Choice(tuple(MODELS)), default="ppmid", show_default=True)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.ROUTER.value,
    show_default=True,
)
@click.option(
    "--personality",
    type=click.Choice(get_args(Personality)),
    help="Whose OTA client it has.  [default: Ember's, with the largest blocks]",
)
@click.option(
    "--install-code",
    "link_key",
    required=True,
    metavar="HEX",
    envvar="HANBENCH_INSTALL_CODE",
    show_envvar=True,
    callback=_read_install_code,
    help="The one its hub is told in 8.11, with or without the CRC printed behind it.",
)
@click.option(
    "--keys",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The device's certificates and keys, and those it trusts.",
)
@click.option(
    "--state",
    "state_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Flash, counters, alerts: gone on from if it exists, kept up to date.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, ROOT_MAX),
    default=1,
    show_default=True,
    help="The hub's: of its network, and of the makers that sign images.",
)
@channel_option
@click.option(
    "--version",
    metavar="HEX",
    default=f"{OLD_VERSION:08X}",
    show_default=True,
    callback=_read_version,
    help="The firmware it is delivered with.",
)
@click.option(
    "--image-policy",
    type=click.Choice(("maker-signed", "opaque")),
    default="maker-signed",
    show_default=True,
    help="Which images it takes: its maker's, or any that fits.",
)
@click.option(
    "--slot-kb",
    type=click.IntRange(1, MAX_LIMIT_KB),
    default=DEFAULT_SLOT_KB,
    show_default=True,
    help="Room for an image, in KiB.",
)
@click.option("--take-over", is_flag=True, help="Let the stick forget the network it knows.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object per event and line.")
def device_command(
    radio: str,
    kind: str,
    role: str,
    personality: str | None,
    link_key: bytes,
    folder: Path,
    state_folder: Path | None,
    seed: int,
    channel: int,
    version: int,
    image_policy: str,
    slot_kb: int,
    take_over: bool,
    as_json: bool,
) -> None:
    """Be one PPMID or bridge until interrupted: join the hub's network, and take the updates that
    it offers. One line for everything that happens.

    Its EUI-64 is the stick's; in DIR are its keys (`hanbench pki issue`). With --state it goes on
    where it was, whatever ended it; without, it is new each time.
    """
    quiet_hosts()
    with ExitStack() as stack:
        state = None
        if state_folder is not None:
            state = StateFolder(state_folder, kind)
            stack.callback(state.close)
        settings = network_settings(seed, channel)
        parameters = client_parameters(cast(Personality | None, personality), None, ClientTable())
        teller = _Teller(as_json)
        run_real(
            lambda: _serve(
                teller,
                state,
                Role(role),
                HanToJoin(settings.channel, settings.extended_pan_id),
                partial(
                    _build,
                    kind,
                    radio,
                    link_key,
                    version,
                    slot_kb * 1024,
                    _judge(image_policy, kind, seed),
                    parameters,
                    identities(folder, "device", state),
                ),
                take_over=take_over,
            )
        )


def _judge(policy: str, kind: str, seed: int) -> Callable[[Flash], str | None]:
    """By what it judges an image that it has loaded."""
    if policy == "opaque":
        return lambda _flash: None
    maker = maker_of(Seeds(seed), identity(kind)).public_key()
    return lambda flash: verify_maker(flash.read(Slot.SPARE), maker)


def _build(
    kind: str,
    radio: str,
    link_key: bytes,
    version: int,
    slot_bytes: int,
    verify: Callable[[Flash], str | None],
    parameters: OtaClientParameters,
    identify: Identify,
    power: Kept,
) -> DeviceBuild:
    product = identity(kind)
    try:
        return DeviceBuild(
            kind,
            MODELS[kind],
            radio,
            link_key,
            product.manufacturer_code,
            product.image_type,
            product.hardware_version,
            verify,
            power.flash(version),
            parameters,
            slot_size_bytes=slot_bytes,
            identity=identify,
            memory=GbcsMemory.restarted(power.record("gbcs"), power),
            utc_now=utc_now,
            network=power.record("network"),
            power=power,
        )
    except (ValueError, TypeError, KeyError):
        raise RequestError("what --state has is no state of a device") from None


async def _serve(
    teller: _Teller,
    state: StateFolder | None,
    role: Role,
    han: HanToJoin,
    build: Callable[[Kept], DeviceBuild],
    *,
    take_over: bool,
) -> None:
    interrupted = interruption()
    loss = Loss()
    power = Kept(state, loss.tell)
    joining = power.record("joining")
    made = build(power)

    def on_event(event: DeviceEvent) -> None:
        if isinstance(event, DeviceLost):
            loss.tell(event.reason)
        if isinstance(event, DeviceUp) and joining.read():
            joining.write(power, "joining", b"")
        teller.show(event)

    def make_node(url: str, endpoints: Any, on_node_event: Any) -> EzspNode:
        return EzspNode(
            url,
            endpoints,
            on_node_event,
            role=role,
            # It was stopped in joining: the network its stick knows is the one it was asked into.
            take_over=take_over or bool(joining.read()),
            on_joining=lambda: joining.write(power, "joining", b"joining"),
        )

    device = Device(made, han, PagePool(), make_node, on_event)
    try:
        await device.power_on()
        teller.tell(
            "device",
            eui64=f"{device.eui64:016X}",
            kind=made.device_id,
            radio=made.radio_url,
            network=f"{han.extended_pan_id:016X}",
            channel=han.channel,
        )
        device.begin()
        await loss.until(interrupted.wait())
    except NodeError as error:
        raise BenchBroke(str(error)) from None
    finally:
        await device.power_off()
    if loss.reason is not None:
        raise BenchBroke(f"the device cannot go on: {loss.reason}")


# -- what is told --------------------------------------------------------------------------------

_Event = Literal[
    "device",
    "joined",
    "resumed",
    "restarted",
    "left",
    "tunnel",
    "download",
    "progress",
    "downloaded",
    "download-failed",
    "activating",
    "alert-delivered",
    "discarded",
    "anomaly",
]


class _Teller:
    """One line for each event, as text or as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._is_up = False

    def tell(self, event: _Event, **facts: object) -> None:
        if self._as_json:
            time = utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
            click.echo(json.dumps({"time": time, "event": event} | facts))
        else:
            words = "  ".join(f"{name} {value}" for name, value in facts.items() if value)
            say(f"{event}  {words}".rstrip())

    def show(self, event: DeviceEvent) -> None:
        match event:
            case DeviceUp():
                again = "restarted" if self._is_up else "resumed"
                self._is_up = True
                self.tell(
                    cast(_Event, again) if event.restarted else "joined",
                    version=f"{event.file_version:08X}",
                    sha256=event.sha256,
                )
            case DeviceLeft():
                self.tell("left")
            case tunnel.TunnelUp():
                self.tell("tunnel", state="open")
            case tunnel.TunnelDown():
                self.tell("tunnel", state="closed", reason=event.reason)
            case ota_client.DownloadStarted():
                self.tell(
                    "download",
                    version=f"{event.file_version:08X}",
                    bytes=event.size_bytes,
                    offset=event.offset_bytes,
                )
            case ota_client.DownloadProgress():
                self.tell("progress", percent=100 * event.offset_bytes // event.size_bytes)
            case ota_client.DownloadDone():
                self.tell("downloaded", sha256=event.sha256)
            case ota_client.DownloadFailed():
                self.tell("download-failed", status=f"{event.status:02X}", reason=event.reason)
            case ota_client.Activate():
                self.tell("activating", version=f"{event.file_version:08X}")
            case AlertDelivered():
                code = parse_frame(event.frame).frame.message_code
                self.tell("alert-delivered", use_case=use_case(code), frame=event.frame.hex())
            case FrameDiscarded():
                self.tell("discarded", reason=event.reason.name, detail=event.detail)
            case ota_client.Anomaly() | tunnel.Anomaly():
                self.tell("anomaly", kind=event.kind, detail=event.detail)
            case tunnel.MessageRefused():
                self.tell("anomaly", kind="message refused", detail=event.reason)
