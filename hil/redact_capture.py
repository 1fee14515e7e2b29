"""A capture to pass on: other addresses, and nothing of what a message said.

Source: ours; `hil.host_capture` for what a reconstructed frame is.

    frame                                  keeps
    -------------------------------------  -------------------------------------------------------
    secured at its NWK or APS layer        everything, under pseudonyms: no key is passed on
    in the clear, a ZCL message            its ZCL header; of the OTA cluster all but the octets of
                                           an image; of a fragment behind the first nothing
    in the clear, a ZDO message            its sequence number
    an APS or NWK command, a MAC command,  everything, under pseudonyms
    a beacon

What is left out becomes zeros, so lengths, moments and numbers of frames stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulator.medium.pcapng import PcapngError, read_pcapng
from emulator.zigbee import aps, mac, nwk, ota, zcl, zdo
from hil.redact_table import Table

_EPID = slice(7, 15)  # of a beacon: behind superframe, GTS, pending addresses, protocol, stack
_FCS_OCTETS = 2
_ZDO_SEQUENCE_OCTETS = 1
_MANUFACTURER_HEADER_OCTETS = 5


def addresses(capture: bytes) -> Iterator[int]:
    """Every EUI-64 that a header on the air shows."""
    try:
        for _, psdu in read_pcapng(capture):
            try:
                yield from _addresses(psdu)
            except (mac.MacError, nwk.NwkError):
                continue
    except PcapngError:
        return


def _addresses(psdu: bytes) -> Iterator[int]:
    frame = mac.parse(psdu)
    if frame.source_extended and frame.source is not None:
        yield frame.source
    if frame.destination_extended and frame.destination is not None:
        yield frame.destination
    if frame.frame_type == mac.TYPE_BEACON and len(frame.payload) >= _EPID.stop:
        yield int.from_bytes(frame.payload[_EPID], "little")
    if frame.frame_type != mac.TYPE_DATA:
        return
    header = nwk.parse(frame.payload)
    yield from (each for each in (header.source_ieee, header.destination_ieee) if each is not None)
    if header.secured:
        auxiliary = nwk.parse_auxiliary(frame.payload, header.header_octets)
        yield int.from_bytes(auxiliary.source_eui64, "little")


def redacted_capture(octets: bytes, table: Table) -> bytes:
    """The capture as it may be passed on; no octet of it moves."""
    found = bytearray(octets)
    at = 0
    try:
        for _, psdu in read_pcapng(octets):
            at = octets.index(psdu, at)
            found[at : at + len(psdu)] = _silent(psdu)
            at += len(psdu)
    except PcapngError:
        pass  # one that ends early is redacted as far as it goes, and beyond as octets
    silent = bytes(found)
    found = bytearray(table.binary(silent))
    at = 0
    try:
        for _, psdu in read_pcapng(octets):
            at = octets.index(psdu, at)
            end = at + len(psdu)
            if found[at:end] != psdu and mac.fcs(psdu[:-_FCS_OCTETS]) == psdu[-_FCS_OCTETS:]:
                found[end - _FCS_OCTETS : end] = mac.fcs(bytes(found[at : end - _FCS_OCTETS]))
            at = end
    except PcapngError:
        pass
    return bytes(found)


def _silent(psdu: bytes) -> bytes:
    """The frame, with zeros for what a message in the clear said."""
    try:
        frame = mac.parse(psdu)
        if frame.frame_type != mac.TYPE_DATA:
            return psdu
        header = nwk.parse(frame.payload)
        if header.secured or header.frame_type != nwk.TYPE_DATA:
            return psdu
        message = frame.payload[header.header_octets :]
        told = aps.parse(message)
    except (mac.MacError, nwk.NwkError, aps.ApsError):
        return psdu
    if told.control & aps.SECURITY or told.frame_type != aps.TYPE_DATA:
        return psdu
    payload = message[told.header_octets :]
    said = len(payload) - _kept_octets(told, payload)
    end = len(psdu) - _FCS_OCTETS
    return psdu[: end - said] + bytes(said) + psdu[end:]


def _kept_octets(told: aps.ApsFrame, payload: bytes) -> int:
    """How much of what an application sent tells nothing of what it said."""
    if told.fragmentation == aps.FRAGMENT_PART or not payload:
        return 0
    if told.profile == zdo.PROFILE:
        return _ZDO_SEQUENCE_OCTETS
    is_vendors = payload[0] & zcl.MANUFACTURER_SPECIFIC
    head = _MANUFACTURER_HEADER_OCTETS if is_vendors else zcl.HEADER_OCTETS
    is_ota = told.cluster == ota.CLUSTER_ID and not is_vendors
    if is_ota and payload[0] & zcl.CLUSTER_COMMAND and len(payload) >= head:
        if payload[head - 1] != ota.IMAGE_BLOCK_RESPONSE:
            return len(payload)
        head = ota.BLOCK_FRAME.size
    return min(head, len(payload))
