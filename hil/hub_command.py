"""`hanbench hub`: one Communications Hub as a process of its own, on any stick.

Source: DESIGN, "What it promises to the outside" (command line). Its radio is a serial URL, its WAN
a WebSocket to `hanbench dsp`, its EUI-64 that of the stick; its keys are those of a folder of
`hanbench pki`.

    in the folder of --state  what
    ------------------------  -----------------------------------------------------------------
    network                   that the stick was asked to form one; which one it formed
    device log                who was let in, with link key and type; who was struck off; the
                              network that it took over from another hub
    image, offers             the image slot, and what became of it for each device
    gbcs                      counters, and alerts that the WAN does not have yet
    wan                       what the DSP has not taken yet

Each is there before the DSP or a device is told of it. Who is let in by the stick when the hub is
stopped, and did not join yet, is let in by the next 8.11.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from emulator.devices.gbcs_half import GbcsMemory, Identify
from emulator.devices.hub import (
    DeviceClassified,
    DeviceJoined,
    FrameDiscarded,
    Hub,
    HubEvent,
    HubLost,
    HubStored,
)
from emulator.devices.node import NetworkSettings, NodeError
from emulator.devices.nonvolatile import PowerCut
from emulator.devices.ota_server import Anomaly, TransferOutcome, TransferStarted
from emulator.devices.zigpy_node import ZigpyNode
from firmware_images.checks import MAX_LIMIT_KB
from hil.clock import run_real
from hil.errors import BenchBroke, RequestError
from hil.kept import Kept
from hil.seeds import ROOT_MAX
from hil.serving import interruption, require_loopback
from hil.standalone import Loss, channel_option, identities, network_settings, say, utc_now
from hil.state_folder import StateFolder
from hil.wan_client import WanClient
from hil.wiring import quiet_hosts

DEFAULT_SLOT_KB = 750
_FORMING = b"forming"


@click.command("hub", short_help="One hub on a stick, its WAN a link to hanbench dsp.")
@click.option("--radio", required=True, metavar="URL", help="/dev/ttyUSB0, tcp://HOST:PORT, …")
@click.option("--wan", "wan_url", required=True, metavar="URL", help="ws://HOST:PORT of the DSP.")
@click.option(
    "--keys",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The hub's certificates and keys, and those of the Access Control Broker.",
)
@click.option(
    "--state",
    "state_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Device log, image, counters, alerts: gone on from if it exists, kept up to date.",
)
@click.option("--seed", type=click.IntRange(0, ROOT_MAX), default=1, show_default=True)
@channel_option
@click.option(
    "--slot-kb",
    type=click.IntRange(1, MAX_LIMIT_KB),
    default=DEFAULT_SLOT_KB,
    show_default=True,
    help="Room for an image, in KiB.",
)
@click.option("--take-over", is_flag=True, help="Let the stick forget the network it knows.")
@click.option("--allow-remote", is_flag=True, help="Talk to a DSP that is not on this machine.")
def hub_command(
    radio: str,
    wan_url: str,
    folder: Path,
    state_folder: Path | None,
    seed: int,
    channel: int,
    slot_kb: int,
    take_over: bool,
    allow_remote: bool,
) -> None:
    """Be one Communications Hub until interrupted: form a network on the stick, and do what the
    DSP says. One line for everything that happens.

    The link to the DSP is made again when it breaks. Its EUI-64 must stand in the DSP's inventory
    as a CHF, and in DIR with its keys (`hanbench pki issue`). With --state it goes on where it
    was, whatever ended it; without, it is new each time.
    """
    parts = urlsplit(wan_url)
    if parts.scheme not in ("ws", "http") or not parts.hostname or parts.path not in ("", "/"):
        raise RequestError(
            f"{wan_url!r} is no DSP: say ws://HOST:PORT, such as ws://127.0.0.1:8079"
        )
    require_loopback(parts.hostname, allow_remote)
    quiet_hosts()
    with ExitStack() as stack:
        state = None
        if state_folder is not None:
            state = StateFolder(state_folder, "hub")
            stack.callback(state.close)
        settings = network_settings(seed, channel)
        identify = identities(folder, "hub", state)
        run_real(
            lambda: _serve(
                radio, wan_url, identify, state, settings, slot_kb * 1024, take_over=take_over
            )
        )


async def _serve(
    radio: str,
    wan_url: str,
    identify: Identify,
    state: StateFolder | None,
    settings: NetworkSettings,
    slot_bytes: int,
    *,
    take_over: bool,
) -> None:
    interrupted = interruption()
    loss = Loss()
    power = Kept(state, loss.tell)
    network = power.record("network")
    formed = settings.extended_pan_id.to_bytes(8, "big")
    held = network.read()
    if held not in (None, _FORMING, formed):
        raise RequestError(
            f"the network of --state is {held.hex().upper()}, and that of --seed "
            f"{formed.hex().upper()}: give the seed it was formed from, or another folder"
        )

    def on_event(event: HubEvent) -> None:
        if isinstance(event, HubLost):
            loss.tell(event.reason)
        _show(event)

    make_node = partial(
        ZigpyNode,
        # It was stopped in forming: the network its stick knows is the one it was to form.
        take_over=take_over or held == _FORMING,
        on_forming=lambda: network.write(power, "network", _FORMING),
    )
    client: WanClient | None = None
    try:
        hub = Hub(
            radio,
            make_node,
            on_event,
            image_limit_bytes=slot_bytes,
            identity=identify,
            memory=GbcsMemory.restarted(power.record("gbcs"), power),
            stored=HubStored(power.image(), power.record("offers"), power.record("device log")),
            wan=lambda message: None if client is None else client.send(message),
            utc_now=utc_now,
            power=power,
        )
        client = WanClient(wan_url, hub.deliver, lambda what: say(f"wan  {what}"), power=power)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RequestError("what --state has is no state of a hub") from None
    try:
        if held == formed:
            await hub.power_up(power, settings)
        else:
            await hub.start(settings)
            network.write(power, "network", formed)
        eui64 = hub.node.eui64
        network_words = f"PAN {settings.pan_id:04X} channel {settings.channel}"
        click.echo(f"hub  {eui64:016X}  {radio}  {network_words}")
        await loss.until(client.run(eui64), interrupted.wait())
    except NodeError as error:
        raise BenchBroke(str(error)) from None
    except PowerCut:
        pass  # which is told below
    finally:
        await hub.stop()
    if loss.reason is not None:
        raise BenchBroke(f"the hub cannot go on: {loss.reason}")


# -- what is told --------------------------------------------------------------------------------


def _show(event: HubEvent) -> None:
    match event:
        case DeviceJoined():
            say(f"joined  {event.eui64:016X} as {event.node_id:04X}")
        case DeviceClassified():
            say(f"type  {event.eui64:016X} is a {event.device_type.name}")
        case FrameDiscarded():
            say(f"discarded  {event.eui64:016X}  {event.reason.name}: {event.detail}")
        case TransferStarted():
            say(f"transfer  {event.eui64:016X}  {event.file_version:08X} begins")
        case TransferOutcome():
            said = event.response_code.name.lower().replace("_", " ")
            say(f"transfer  {event.eui64:016X}  {event.file_version:08X}  {said}: {event.reason}")
        case Anomaly():
            say(f"anomaly  {event.eui64:016X}  {event.kind}: {event.detail}")
