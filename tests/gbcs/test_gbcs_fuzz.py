"""Mutants of what is valid, by the ten thousand: nothing but our own errors, no state changed."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gbcs_rig import EPOCH, activation, broker, device, issued, own_key, smki
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from payload_strategies import payloads
from test_bad_frames import COMMANDS
from test_payloads import GOLDEN, PUBLISHED

from gbcs.acb import Rejected
from gbcs.block_transfer import join_stream, split
from gbcs.certificates import parse_certificate
from gbcs.certification_requests import parse_certification_request
from gbcs.chain import parse_revocation_list
from gbcs.codes import MESSAGES, build_payload, read_payload
from gbcs.device_credentials import certification_request
from gbcs.endpoint import Discarded, EndpointState
from gbcs.envelope import Cra, build_frame, parse_frame
from gbcs.errors import GbcsError, GbcsValueError
from gbcs.fields import Reading
from gbcs.protection import KeyUse
from gbcs.smki import PPMID_EUI64
from hil.frame_documents import (
    document_of,
    envelope_document,
    fields_document,
    frame_of,
    payload_document,
)

MUTANTS = 10_000 if os.environ.get("HANBENCH_MATRIX") == "full" else 1_000
pytestmark = [
    pytest.mark.matrix,
    # The mutants of certificates have serials that the library will refuse one day.
    pytest.mark.filterwarnings("ignore:Parsed a serial number"),
]


def mutant(rng: random.Random, octets: bytes) -> bytes:
    data = bytearray(octets)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 1] = bytes([rng.choice((0, 1, 0x30, 0x7F, 0x80, 0x82, 0x84, 0xFF))])
            case 2:
                del data[at : at + rng.randint(1, 4)]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 32)]
            case _:
                del data[at:]
    return bytes(data)


def attempt(read: Callable[[], Any]) -> tuple[int, Any]:
    """The offset of the refusal, and what was read if there was none."""
    try:
        return -1, read()
    except GbcsError as error:
        return error.offset, None


def assert_builds(reading: Reading[Any], code: int, cra: Cra) -> None:
    """What is built has the same length and reads the same. One octet may differ: a true that is
    not FF."""
    octets = build_payload(reading.value, reading.lengths)
    again = read_payload(code, cra, octets)
    assert again is not None
    assert (again.value, again.lengths) == (reading.value, reading.lengths)
    assert [span.length for span in again.spans] == [span.length for span in reading.spans]


def test_a_mutated_frame_is_read_or_refused_and_what_is_read_is_built_again() -> None:
    rng = random.Random("frames")
    frames = [make_command() for _, make_command in COMMANDS.values()]
    frames.append(device(EndpointState(4999)).alert(0x012B, activation()))
    was_read = 0
    for _ in range(MUTANTS):
        octets = mutant(rng, rng.choice(frames))
        refused, received = attempt(lambda octets=octets: parse_frame(octets))
        if received is None:
            assert 0 <= refused <= len(octets)
            continue
        was_read += 1
        assert build_frame(received.frame, received.lengths) == octets
        frame = received.frame
        with contextlib.suppress(GbcsError):
            reading = read_payload(frame.message_code, frame.cra, frame.payload)
            if reading is not None:
                assert_builds(reading, frame.message_code, frame.cra)
            document = json.loads(
                json.dumps(
                    {
                        "message_code": f"{frame.message_code:04X}",
                        "cra": frame.cra.name.lower(),
                        "originator": document_of(frame.originator, "originator"),
                        "recipient": document_of(frame.recipient, "recipient"),
                        "originator_counter": frame.originator_counter,
                        "payload": payload_document(frame, reading),
                        "envelope": envelope_document(received),
                        "fields": fields_document(received, reading),
                    }
                )
            )
            drafted = frame_of(document)
            again = parse_frame(build_frame(drafted.frame, drafted.lengths))
            assert replace(again.frame, payload=b"") == replace(frame, payload=b"")
    assert was_read > MUTANTS // 20


def test_a_mutated_payload_is_read_or_refused_and_what_is_read_is_built_again() -> None:
    rng = random.Random("payloads")
    known = [(code, cra, bytes.fromhex(text)) for text, code, cra, _ in GOLDEN]
    known += [(code, cra, bytes.fromhex(text)) for code, cra, text in PUBLISHED.values()]
    was_read = 0
    for _ in range(MUTANTS):
        code, cra, octets = rng.choice(known)
        octets = mutant(rng, octets)
        refused, reading = attempt(
            lambda code=code, cra=cra, octets=octets: read_payload(code, cra, octets, 40)
        )
        if reading is None:
            assert 40 <= refused <= 40 + len(octets)
            continue
        assert_builds(reading, code, cra)
        was_read += 1
    assert was_read > MUTANTS // 100


@settings(max_examples=MUTANTS, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
@given(payloads(), st.randoms(use_true_random=False))
def test_any_payload_mutated_is_read_or_refused(payload: object, rng: random.Random) -> None:
    octets = mutant(rng, build_payload(payload))
    (row,) = {row.definition for row in MESSAGES.values() if type(payload) in row.definition.kinds}
    with contextlib.suppress(GbcsError):
        reading = row.read(octets)
        assert row.parse(row.build(reading.value, reading.lengths)) == reading.value


def test_an_endpoint_acts_on_no_mutant() -> None:
    rng = random.Random("endpoint")
    for make_endpoint, make_command in COMMANDS.values():
        endpoint, command = make_endpoint(), make_command()
        before = endpoint.state
        for _ in range(MUTANTS):
            octets = mutant(rng, command)
            if octets != command:
                (output,) = endpoint.receive(octets, EPOCH)
                assert isinstance(output, Discarded)
                assert endpoint.state is before


def test_an_acb_takes_no_mutant() -> None:
    rng = random.Random("acb")
    dsp = broker()
    command = dsp.read_firmware_version(PPMID_EUI64, None)  # type: ignore[arg-type]
    (reply,) = device().receive(command, EPOCH)
    frames = [reply.frame, device(EndpointState(4999)).alert(0x012B, activation())]  # type: ignore[union-attr]
    for _ in range(MUTANTS):
        frame = rng.choice(frames)
        octets = mutant(rng, frame)
        if octets != frame:
            assert isinstance(dsp.receive(octets), Rejected)
    assert dsp.state.accepted == {}


def test_mutated_blocks_and_certificates_are_read_or_refused() -> None:
    rng = random.Random("blocks")
    blocks = b"".join(split(device(EndpointState(4999)).alert(0x012B, activation()), 60))
    certificate = issued().certificate(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE)
    assert certificate is not None
    for _ in range(MUTANTS):
        with contextlib.suppress(GbcsError):
            join_stream(mutant(rng, blocks))
        with contextlib.suppress(GbcsError):
            parse_certificate(mutant(rng, certificate.der))


def test_a_mutated_request_or_revocation_list_says_what_was_signed_or_nothing() -> None:
    rng = random.Random("requests")
    request = certification_request(
        PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE, own_key(PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE)
    )
    issuer = smki().issuing_authority
    revoked = smki().revocation_list(issuer, {5: EPOCH, 7: EPOCH}, EPOCH)
    for _ in range(MUTANTS):
        with contextlib.suppress(GbcsError):
            read = parse_certification_request(mutant(rng, request))
            assert (read.eui64, read.use) == (PPMID_EUI64, KeyUse.DIGITAL_SIGNATURE)
        with contextlib.suppress(GbcsError):
            listed = parse_revocation_list(mutant(rng, revoked), issuer.certificate)
            assert listed.revoked == {5: EPOCH, 7: EPOCH}


def test_a_mutated_document_is_a_frame_or_refused() -> None:
    rng = random.Random("documents")
    received = parse_frame(COMMANDS["CS02b by the ACB"][1]())
    frame = received.frame
    reading = read_payload(frame.message_code, frame.cra, frame.payload)
    document = {
        "message_code": "0104",
        "cra": "command",
        "originator": f"{frame.originator:016X}",
        "recipient": f"{frame.recipient:016X}",
        "originator_counter": frame.originator_counter,
        "payload": payload_document(frame, reading),
        "envelope": envelope_document(received),
    }
    odd = [None, -1, 2**70, "", "XY", "00", [], [None], {}, {"a": 1}, True, 1.5]
    for _ in range(MUTANTS):
        copy = json.loads(json.dumps(document))
        place = copy
        for _ in range(rng.randint(0, 4)):
            keys = list(place) if isinstance(place, dict) else range(len(place))
            inner = [place[key] for key in keys if isinstance(place[key], dict | list)]
            inner = [each for each in inner if each]
            if not inner:
                break
            place = rng.choice(inner)
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place[key] = rng.choice(odd)
        with contextlib.suppress(GbcsValueError):
            drafted = frame_of(copy)
            with contextlib.suppress(GbcsValueError):
                build_frame(drafted.frame, drafted.lengths)
