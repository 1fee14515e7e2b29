"""What each frame of a capture says, from the MAC acknowledgement to the message in the tunnel.

Source: ours, over the codecs of `emulator.zigbee`. Names of nodes are learnt from the frames: short
addresses go with the EUI-64 that the same frame, an association or an announcement shows.

A frame that is damaged, malformed or encrypted is said to be that: nothing on the air stops the
reading. Each frame is decrypted once per layer. No key is ever in what is said.

A frame is regular when it is part of the course of a transfer: Image Block Request, Image Block
Response with data, their APS and MAC acknowledgements. There are thousands of these, and each other
frame is worth a look.

A reconstructed frame (`hil.host_capture`) is one that its host's stick has opened: it is under no
security itself, and its comment says whether the message was under the link key.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from emulator.zigbee import aps, mac, nwk, ota, zcl, zdo
from emulator.zigbee.fragments import Reassembler
from emulator.zigbee.security import FrameKey, SecurityError, key_transport_key
from hil.air_headers import (
    ack_words,
    aps_command_words,
    beacon_words,
    mac_command_words,
    nwk_command_words,
)
from hil.air_names import BROADCASTS, AirNames
from hil.air_words import Words, cluster_name, gbcs_words, zcl_head, zcl_words, zdo_words
from hil.host_capture import UNDER_LINK_KEY
from hil.pcapng_file import read_capture, read_commented_capture

_NETWORK_LABEL, _LINK_LABEL = "network", "link "  # as in air.keys
_MAX_REMEMBERED = 4096  # APS counters and fragmented messages whose rest may still come

AGAIN = ", again"  # of a frame that is the last one of its sender once more
_NWK_TYPES = {nwk.TYPE_DATA: "data", nwk.TYPE_COMMAND: "command"}


@dataclass(frozen=True, slots=True)
class AirKeys:
    """The network key, and the link key of each device by its name."""

    network_key: bytes
    link_keys: Mapping[str, bytes]

    @classmethod
    def from_wireshark(cls, text: str) -> Self:
        """Read what `air.keys` holds. Raises ValueError."""
        keys = {row[2]: bytes.fromhex(row[0]) for row in csv.reader(text.splitlines()) if row[2:]}
        network_key = keys.pop(_NETWORK_LABEL, None)
        if network_key is None:
            raise ValueError(f"no key is called {_NETWORK_LABEL!r}")
        link_keys = {
            label.removeprefix(_LINK_LABEL): key
            for label, key in keys.items()
            if label.startswith(_LINK_LABEL)
        }
        return cls(network_key, link_keys)

    def __repr__(self) -> str:  # keys never reach a log
        return "AirKeys(…)"


class Block(NamedTuple):
    """Where in whose transfer a regular frame stands; nodes are PAN id << 16 | short address.
    What asks for the block begins it; response and acknowledgements only belong to it."""

    node: int
    offset: int
    begins: bool = False


class AirFrame(NamedTuple):
    """One frame. `number` is its place in the capture, from 1; `octets` its whole length."""

    number: int
    time_us: int
    octets: int
    source: str
    destination: str
    layer: str
    what: str
    block: Block | None = None

    @property
    def regular(self) -> bool:
        return self.block is not None

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}: {self.layer} {self.what}"


class _Said(NamedTuple):
    """What a MAC payload turned out to be, end to end."""

    source: str
    destination: str
    layer: str
    what: str
    block: Block | None = None


class _Unacknowledged(NamedTuple):
    """The last frame that wants an acknowledgement."""

    sequence: int
    source: str
    destination: str
    block: Block | None


class AirReader:
    """Reads frames in the order of the air, and learns from each. `names` are by EUI-64."""

    def __init__(self, keys: AirKeys | None, names: Mapping[int, str]) -> None:
        self._names = AirNames(names)
        self._network_key = None if keys is None else FrameKey(keys.network_key)
        link_keys = {} if keys is None else keys.link_keys
        self._link_keys = {name: FrameKey(key) for name, key in link_keys.items()}
        self._transport_keys = [FrameKey(key_transport_key(key)) for key in link_keys.values()]
        self._pair_keys: dict[tuple[int, int, int], FrameKey] = {}
        self._unacknowledged: _Unacknowledged | None = None
        self._last: dict[str, tuple[bytes, _Said]] = {}
        self._blocks: dict[tuple[int, int, int], Block] = {}
        self._reassembler = Reassembler()
        self._heads: dict[tuple[int, int], tuple[Words, int]] = {}
        self._reconstructed: bool | None = None

    def read(
        self, number: int, time_us: int, psdu: bytes, *, reconstructed: bool | None = None
    ) -> AirFrame:
        """The next frame, FCS included. None of a frame as it was; of a reconstructed one whether
        its message was under the link key."""
        self._reconstructed = reconstructed
        if len(psdu) == 5 and psdu[0] & 7 == mac.TYPE_ACK:
            said = self._mac_ack(psdu)
        else:
            self._unacknowledged = None
            said = self._frame(psdu, time_us)
        return AirFrame(number, time_us, len(psdu), *said)

    # -- MAC ---------------------------------------------------------------------------------------

    def _mac_ack(self, psdu: bytes) -> _Said:
        wanted, self._unacknowledged = self._unacknowledged, None
        if psdu[3:] != mac.fcs(psdu[:3]):
            return _Said("", "", "MAC", "ack, damaged")
        what = "ack, frame pending" if psdu[0] & mac.FRAME_PENDING else "ack"
        if wanted is None or wanted.sequence != psdu[2]:
            return _Said("", "", "MAC", f"{what} of nothing seen")
        return _Said(wanted.destination, wanted.source, "MAC", what, wanted.block)

    def _frame(self, psdu: bytes, time_us: int) -> _Said:
        try:
            frame = mac.parse(psdu)
        except mac.MacError as error:
            return _Said("", "", "MAC", f"damaged: {error}")
        if frame.frame_type == mac.TYPE_COMMAND:
            self._names.learn_association(frame)
        source = self._names.of_mac(frame.source_pan, frame.source, frame.source_extended)
        destination = self._names.of_mac(
            frame.destination_pan, frame.destination, frame.destination_extended
        )
        last = self._last.get(source)
        if last is not None and last[0] == psdu:
            said = last[1]
            if not said.what.endswith(AGAIN):
                said = said._replace(what=said.what + AGAIN)
        else:
            said = self._payload(frame, source, destination, time_us)
        if len(self._last) >= _MAX_REMEMBERED:
            self._last.clear()
        self._last[source] = psdu, said
        if frame.ack_request:
            block = said.block and said.block._replace(begins=False)
            self._unacknowledged = _Unacknowledged(frame.sequence, source, destination, block)
        return said

    def _payload(self, frame: mac.MacFrame, source: str, destination: str, time_us: int) -> _Said:
        kind, payload = frame.frame_type, frame.payload
        if kind == mac.TYPE_DATA and not frame.source_extended and frame.source is not None:
            said = self._nwk(frame.destination_pan or 0, frame.source, payload, time_us)
            if said is None:
                return _Said(source, destination, "NWK", "malformed")
            is_another = said.source != source or said.destination != destination
            relayed = is_another and self._reconstructed is None  # no host knows of relays
            if relayed and said.destination not in BROADCASTS.values():
                said = said._replace(what=f"{said.what} (hop {source} -> {destination})")
            return said
        if kind == mac.TYPE_BEACON:
            return _Said(source, destination or "all", "MAC", beacon_words(payload))
        if kind == mac.TYPE_COMMAND and payload:
            return _Said(source, destination or "all", "MAC", mac_command_words(payload))
        return _Said(source, destination, "MAC", f"frame type {kind}")

    # -- NWK ---------------------------------------------------------------------------------------

    def _nwk(self, pan: int, hop_source: int, frame: bytes, time_us: int) -> _Said | None:
        """A NWK frame; None when it has no header to tell anything from."""
        try:
            header = nwk.parse(frame)
            payload = self._opened(pan, hop_source, frame, header)
        except nwk.NwkError:
            return None
        source, destination = header.source, header.destination
        block = None
        if header.frame_type not in _NWK_TYPES:
            words = Words("NWK", f"frame type {header.frame_type}")
        elif isinstance(payload, str):
            words = Words("NWK", f"{_NWK_TYPES[header.frame_type]}, {payload}")
        elif not payload:
            words = Words("NWK", f"{_NWK_TYPES[header.frame_type]} without payload")
        elif header.frame_type == nwk.TYPE_COMMAND:
            words = Words("NWK", nwk_command_words(payload))
        else:
            words, block = self._aps(pan, source, destination, payload, time_us)
            bare = not header.secured and self._reconstructed is None
            if bare and payload[0] & 0x03 != aps.TYPE_COMMAND:
                words, block = words._replace(what=f"{words.what}, without NWK security"), None
        names = self._names
        return _Said(names.of(pan, source), names.of(pan, destination), *words, block)

    def _opened(self, pan: int, hop_source: int, frame: bytes, header: nwk.NwkFrame) -> bytes | str:
        """The payload of a NWK frame, or why it stays closed. Whoever holds the network key is
        believed as to its addresses; who need not hold it is, too, where nobody could tell."""
        if not header.secured:
            if self._reconstructed is not None:
                self._learn_reconstructed(pan, header)
            return frame[header.header_octets :]
        auxiliary = nwk.parse_auxiliary(frame, header.header_octets)
        opened: bytes | str = "encrypted"
        if self._network_key is not None:
            try:
                opened = nwk.open_sealed(
                    self._network_key, frame, header.header_octets, auxiliary.source_eui64
                )
            except SecurityError:
                return "does not open with the network key"
        # The auxiliary header is that of the last hop.
        self._names.learn(pan, hop_source, int.from_bytes(auxiliary.source_eui64, "little"))
        if header.source_ieee is not None:
            self._names.learn(pan, header.source, header.source_ieee)
        return opened

    def _learn_reconstructed(self, pan: int, header: nwk.NwkFrame) -> None:
        """Its host has the addresses of its network's nodes, and nobody else has put them there."""
        if header.source_ieee is not None:
            self._names.learn(pan, header.source, header.source_ieee)
        if header.destination_ieee is not None:
            self._names.learn(pan, header.destination, header.destination_ieee)

    # -- APS ---------------------------------------------------------------------------------------

    def _aps(
        self, pan: int, source: int, destination: int, frame: bytes, time_us: int
    ) -> tuple[Words, Block | None]:
        if frame[0] & 0x03 == aps.TYPE_COMMAND:
            return Words("APS", self._aps_command(frame)), None
        try:
            header = aps.parse(frame)
        except aps.ApsError as error:
            return Words("APS", f"malformed: {error}"), None
        if header.frame_type == aps.TYPE_ACK:
            of_ota = header.cluster == ota.CLUSTER_ID
            block = self._blocks.get((destination, source, header.counter)) if of_ota else None
            return Words("APS", ack_words(header)), block
        self._blocks.pop((source, destination, header.counter), None)
        payload = frame[header.header_octets :]
        secured = bool(header.control & aps.SECURITY)
        if secured:
            opened = self._open(pan, source, destination, frame, header.header_octets)
            if isinstance(opened, str):
                return Words("APS", f"data, {cluster_name(header.cluster)}, {opened}"), None
            payload = opened
        if self._reconstructed is not None:
            secured = self._reconstructed
        if header.fragmentation:
            return self._fragment(pan << 16 | source, header, payload, time_us), None
        if header.profile == zdo.PROFILE:
            if header.cluster == zdo.DEVICE_ANNOUNCE and len(payload) >= 11:
                short = int.from_bytes(payload[1:3], "little")
                self._names.learn(pan, short, int.from_bytes(payload[3:11], "little"))
            return zdo_words(header.cluster, payload), None
        if secured and header.cluster == ota.CLUSTER_ID:
            found = _block(payload)
            if found is not None:
                what, offset, is_request = found
                block = Block(pan << 16 | (source if is_request else destination), offset)
                if len(self._blocks) >= _MAX_REMEMBERED:
                    self._blocks.clear()
                self._blocks[source, destination, header.counter] = block
                return Words("OTA", what), block._replace(begins=is_request)
        words = zcl_words(header.cluster, payload)
        if not secured and header.profile == zcl.SMART_ENERGY_PROFILE_ID:
            words = words._replace(what=f"{words.what}, without APS security")
        return words, None

    def _open(self, pan: int, source: int, destination: int, frame: bytes, at: int) -> bytes | str:
        """The payload under the link key of the two, or why it stays closed."""
        if not self._link_keys:
            return "encrypted"
        eui64 = self._names.eui64(pan, source)
        if eui64 is None:
            return "encrypted, its sender's EUI-64 is not known"
        source_eui64 = eui64.to_bytes(8, "little")
        pair = (pan, min(source, destination), max(source, destination))
        known = self._pair_keys.get(pair)
        if known is not None:
            try:
                return aps.open_sealed(known, frame, at, source_eui64)
            except SecurityError:
                pass  # perhaps another device has the short address now
        device = destination if source == 0 else source
        named = self._link_keys.get(self._names.of(pan, device))
        for key in self._link_keys.values() if named is None else (named,):
            if key is known:
                continue
            try:
                payload = aps.open_sealed(key, frame, at, source_eui64)
            except SecurityError:
                continue
            if len(self._pair_keys) >= _MAX_REMEMBERED:
                self._pair_keys.clear()
            self._pair_keys[pair] = key
            return payload
        return "does not open with a link key"

    def _aps_command(self, frame: bytes) -> str:
        if not frame[0] & aps.SECURITY:
            return aps_command_words(frame)
        for key in self._transport_keys:
            try:
                transported, _ = aps.open_transport_key(key, frame)
            except (aps.ApsError, SecurityError):
                continue
            eui64 = transported.destination_eui64
            name = self._names.of_eui64(eui64)
            return f"Transport Key, the network key for {name}"
        return "command, encrypted"

    def _fragment(self, node: int, header: aps.ApsFrame, payload: bytes, time_us: int) -> Words:
        """One fragment; with the last that was missing, what the message is."""
        key = (node, header.counter)
        index = 0 if header.fragmentation == aps.FRAGMENT_FIRST else header.block
        if index == 0:
            if len(self._heads) >= _MAX_REMEMBERED:
                self._heads.clear()
            head = zcl_head(header.cluster, payload)
            self._heads[key] = head, header.block
        head, count = self._heads.get(key) or (Words(cluster_name(header.cluster), "data"), 0)
        place = f"fragment {index + 1} of {count or '?'}"
        what = f"{head.what}, {place}, {len(payload)} octets"
        taken = self._reassembler.receive(
            node, header.counter, header.block, index, payload, time_us / 1e6
        )
        if taken.message is not None:
            what += f"; {len(taken.message)} in all"
            if head.what.startswith("TransferData"):
                # behind the ZCL header and the tunnel id
                message = gbcs_words(taken.message[zcl.HEADER_OCTETS + 2 :])
                what += f": {message}" if message else ""
        return Words(head.layer, what)


_NODE_ADDRESS_OCTETS, _BLOCK_PERIOD_OCTETS = 8, 2


def _block(frame: bytes) -> tuple[str, int, bool] | None:
    """A well-formed block request, or block response with data: words, offset, whether the former.

    Nearly every frame of a capture comes here, so it does not go the way of the other commands.
    """
    if len(frame) < ota.BLOCK_FRAME.size:
        return None
    control, _, command, flags, _, _, _, offset, size = ota.BLOCK_FRAME.unpack_from(frame)
    rest = len(frame) - ota.BLOCK_FRAME.size
    if control & (3 | zcl.MANUFACTURER_SPECIFIC) != zcl.CLUSTER_COMMAND:
        return None
    if command == ota.IMAGE_BLOCK_REQUEST and not control & zcl.SERVER_TO_CLIENT:
        optional = _NODE_ADDRESS_OCTETS * (flags & 1) + _BLOCK_PERIOD_OCTETS * (flags >> 1 & 1)
        if rest == optional:
            return f"ImageBlockRequest {offset:08X} {size} octets", offset, True
    has_data = command == ota.IMAGE_BLOCK_RESPONSE and flags == zcl.Status.SUCCESS
    if has_data and control & zcl.SERVER_TO_CLIENT and rest == size:
        return f"ImageBlockResponse {offset:08X} {size} octets", offset, False
    return None


def read_air(
    path: Path, keys: AirKeys | None, names: Mapping[int, str], *, reconstructed: bool = False
) -> Iterator[AirFrame]:
    """Every frame of a capture, in its words. Raises PcapngError where the file ends to be one."""
    reader = AirReader(keys, names)
    if reconstructed:
        for number, (time_us, psdu, said) in enumerate(read_commented_capture(path), 1):
            yield reader.read(number, time_us, psdu, reconstructed=UNDER_LINK_KEY in said)
        return
    for number, (time_us, psdu) in enumerate(read_capture(path), 1):
        yield reader.read(number, time_us, psdu)
