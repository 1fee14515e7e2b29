"""How long a run will take, before it runs: from counted blocks and measured times.

Source: ours; measured on the emulated air (`hanbench run`, images of 16 KiB and 768 000 octets,
every personality and role), and kept honest by a test that runs what is estimated. What retries add
is not foreseen: with faults, or on real air, it takes longer.

    a block            a request, its response, their acknowledgements; a device that sleeps polls
                       for the response every quarter of a second
    a product          the blocks of all its devices share the air; around them the notification,
                       the countdown, the restart, the alert and the read-back
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import NamedTuple

from emulator.devices.ota_rules import OtaClientParameters
from hil.bench_file import Bench, Device
from hil.ota_options import MAX_BLOCK_OCTETS, server_parameters

BLOCK_ON_AIR_S = 0.021
BLOCK_OF_A_SLEEPER_S = 0.254
PRODUCT_S = 13.5
JOINING_S = 1.0
# Of the machine, where time is virtual: what a core of some years ago needs.
BLOCK_HERE_S = 0.0005
RUN_HERE_S = 0.5


class Estimate(NamedTuple):
    """`here_s` is what one waits for it."""

    blocks: int
    air_s: float
    here_s: float


class Transfer(NamedTuple):
    """An image on its way to one device."""

    device: Device
    size_octets: int
    product: object
    """The same for devices that load together."""


def estimate_run(bench: Bench, transfers: Iterable[Transfer]) -> Estimate:
    """Of one update of every device."""
    products: dict[object, list[Transfer]] = {}
    for transfer in transfers:
        products.setdefault(transfer.product, []).append(transfer)
    blocks, air_s = 0, JOINING_S
    for together in products.values():
        counts = [block_count(bench, one) for one in together]
        slowest_s = max(
            _loading_s(bench, one, count) for one, count in zip(together, counts, strict=True)
        )
        blocks += sum(counts)
        air_s += PRODUCT_S + max(slowest_s, sum(counts) * BLOCK_ON_AIR_S)
    virtual = bench.resolve_clock() == "virtual"
    here_s = RUN_HERE_S + blocks * BLOCK_HERE_S if virtual else air_s
    return Estimate(blocks, air_s, here_s)


def block_count(bench: Bench, transfer: Transfer) -> int:
    """How many blocks there are where none is asked for twice."""
    size = transfer.device.client_parameters().max_data_size
    most = bench.hub.max_data_size or MAX_BLOCK_OCTETS
    return ceil(transfer.size_octets / min(size, most))


def _loading_s(bench: Bench, transfer: Transfer, blocks: int) -> float:
    client = transfer.device.client_parameters()
    block_s = BLOCK_OF_A_SLEEPER_S if transfer.device.role == "sleepy" else BLOCK_ON_AIR_S
    block_s += max(_pause_s(bench, client), (client.pace_minimum_s + client.pace_maximum_s) / 2)
    erasing_s = client.erase_s * ceil(transfer.size_octets / client.sector_bytes)
    return blocks * block_s + erasing_s + client.verify_s


def _pause_s(bench: Bench, client: OtaClientParameters) -> float:
    """Between two blocks, as the device understands the period it is given."""
    server = server_parameters(bench.hub)
    pause_s = 0.0
    if client.announce_block_period and server.minimum_block_period_ms:
        period: float = server.minimum_block_period_ms
        unit = server.block_period_unit
        if unit == "s" or (unit == "discover" and client.block_period_unit_s == 1):
            period = ceil(period / 1000)
        if client.max_block_period is not None:
            period = min(period, client.max_block_period)
        pause_s = period * client.block_period_unit_s
    return max(pause_s, client.min_block_period * client.block_period_unit_s)
