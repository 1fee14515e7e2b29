"""`ota_bellows_pair`: a whole image from a hub on zigpy to a bridge on bellows, and where the time
goes.

Source: ours. One repeat sends 768 000 octets in four rounds of a quarter each, and measures in
every round, one after the other and with the same octets:

    transfer   hub and bridge, emulated sticks and air, virtual time: from the first block request
               to the last block. SHA-256 checked, no loss.
    floor      the octets that the sticks wrote to the hosts during that transfer, chunk by chunk,
               one per turn of a plain event loop, into two plain bellows `EZSP` objects: ASH, and
               bellows' own parsing of every frame, with one empty callback each. Nothing is sent
               but acknowledgements, and those are discarded.
    hosts      the real hub and the real bridge without sticks, air and serial lines: they run as
               always up to the first block, then the recorded chunks come at the times they were
               recorded at, and what the hosts write is discarded. They write the same octets as
               in the transfer, which is checked: so they do the same work.
    feeding    the same chunks at the same times to nobody: what the clock costs in "hosts".
    seals      270 AES-CCM seals of 60 octets with a 4-octet MIC, the key object reused, taken as
               the mean of a long series.

Rounds are short so that a machine that is busy for a while slows what is compared alike.

The figures, each a ratio of the sums over the rounds of one repeat:

    (a)  transfer / floor
    (b)  the seconds a real air would have taken / transfer: 21.06 ms a block, and, in the second
         line, the sum of `hop_us` over the frames actually sent but for MAC acknowledgements
         (which `hop_us` holds already)
    (c)  (transfer - (hosts - feeding)) / blocks / seals: what everything emulated costs a block,
         the clock, the memory lines, two NCPs and the medium together
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from bench.judge import Benchmark, Line, Measure
from bench.pair import IMAGE_BYTES, TOY_IMAGE_BYTES, Tape, make_image, record, transfer
from bench.replay import feeding_s, floor_s, hosts_s
from emulator.medium.timing import ACK_OCTETS, hop_us

REAL_BLOCK_S = 0.02106  # at 56 octets a block, APS acknowledgements included
SEALS_PER_BLOCK = 270
_SEALED_OCTETS = 60
_SERIES = 100
_ROUNDS = 4


def seal_s(seals: int) -> float:
    """How long one seal takes, by the mean of `seals`."""
    key = AESCCM(bytes(range(16)), tag_length=4)
    nonce, payload, authenticated = bytes(13), bytes(_SEALED_OCTETS), bytes(22)
    encrypt = key.encrypt
    began_s = perf_counter()
    for _ in range(seals):
        encrypt(nonce, payload, authenticated)
    return (perf_counter() - began_s) / seals


def real_air_s(tape: Tape) -> float:
    """How long a real air takes for the frames of a recorded transfer, one after the other."""
    return sum(hop_us(len(psdu)) for psdu in tape.air if len(psdu) > ACK_OCTETS) / 1e6


def _prepare(toy: bool) -> Measure:
    rounds = 1 if toy else _ROUNDS
    image = make_image(TOY_IMAGE_BYTES if toy else IMAGE_BYTES // _ROUNDS)
    tape = record(image)
    on_air_s = real_air_s(tape) * rounds
    seals = SEALS_PER_BLOCK * (1 if toy else _SERIES // _ROUNDS)

    def measure() -> Mapping[str, float]:
        blocks = 0
        wall_s = floor = hosts = feeding = one_seal_s = 0.0
        for _ in range(rounds):
            done = transfer(image)
            blocks += done.blocks
            wall_s += done.wall_s
            floor += floor_s(tape)
            hosts += hosts_s(image, tape)
            feeding += feeding_s(tape)
            one_seal_s += seal_s(seals) / rounds
        emulated_s = (wall_s - (hosts - feeding)) / blocks
        return {
            "to floor": wall_s / floor,
            "real by blocks": blocks * REAL_BLOCK_S / wall_s,
            "real by frames": on_air_s / wall_s,
            "to seals": emulated_s / (SEALS_PER_BLOCK * one_seal_s),
            "block": 1e6 * wall_s / blocks,
            "floor block": 1e6 * floor / blocks,
            "emulated block": 1e6 * emulated_s,
        }

    return measure


OTA_BELLOWS_PAIR = Benchmark(
    "ota_bellows_pair",
    "768 000 octets, hub on zigpy, bridge on bellows, EZSP 14, memory lines",
    (
        Line("to floor", "(a) transfer / two plain bellows", at_most=1.50),
        Line("real by blocks", "(b) 21.06 ms a block / transfer", at_least=30),
        Line("real by frames", "(b) frames sent on a real air / transfer", at_least=30),
        Line("to seals", "(c) emulated, per block / 270 AES-CCM seals", at_most=1.0),
        Line("block", "us a block: transfer"),
        Line("floor block", "us a block: two plain bellows"),
        Line("emulated block", "us a block: everything emulated"),
    ),
    _prepare,
)
