"""A frame from its document, protected: what `frame build` does.

Source: DESIGN, "What it promises to the outside" (`frame build`). A signature of the document that
holds is kept, and a MAC too; what does not hold is made anew where the key is there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gbcs.certificates import CertificateStore
from gbcs.codes import MACED, SIGNED, SIGNED_AND_MACED, Protection, required_protections
from gbcs.envelope import MAC_OCTETS, SIGNATURE_OCTETS, Frame, build_frame, parse_frame
from gbcs.errors import GbcsValueError
from gbcs.protection import KeyUse, Verdict, agreed_secrets, frame_mac, sign, verify
from hil.frame_documents import frame_of

NAMED = {
    Protection(signature=False, mac=False): "nothing",
    SIGNED: "a signature",
    MACED: "a MAC",
    SIGNED_AND_MACED: "a signature and a MAC",
}


def frame_octets(document: Any, store: CertificateStore | None) -> bytes:
    """The octets of the frame a document describes. Which protections it has is what the document
    says, and else what its message needs. Raises GbcsValueError."""
    frame, lengths = frame_of(document)
    wanted = _wanted(frame, document)
    if frame.signature and not wanted.signature:
        frame = replace(frame, signature=b"")
    if frame.mac is not None and not wanted.mac:
        frame = replace(frame, mac=None)
    if store is not None and wanted.signature:
        frame = _signed(frame, lengths, store)
    if store is not None and wanted.mac:
        frame = _maced(frame, lengths, store)
    if wanted != Protection(bool(frame.signature), frame.mac is not None):
        raise GbcsValueError(f"it needs {NAMED[wanted]}: give --keys, or their octets in envelope")
    return build_frame(frame, lengths)


def _wanted(frame: Frame, document: Any) -> Protection:
    if frame.signature is None:
        return Protection(signature=False, mac=False)
    permitted = required_protections(frame.message_code, frame.cra) or (MACED,)
    has = {"signature": permitted[0].signature, "mac": permitted[0].mac}
    for name in has:
        if name in document:
            has[name] = document[name] not in (None, Verdict.ABSENT.value)
        elif name in (document.get("envelope") or {}):
            has[name] = bool(document["envelope"][name])
    return Protection(**has)


def _signed(frame: Frame, lengths: tuple[int, ...], store: CertificateStore) -> Frame:
    """With the signature it has, if that holds, or with one that does."""
    trial = replace(frame, signature=frame.signature or bytes(SIGNATURE_OCTETS))
    received = parse_frame(build_frame(trial, lengths))
    if verify(received, store).signature is Verdict.VALID:
        return trial
    key = store.private_key(frame.originator, KeyUse.DIGITAL_SIGNATURE)
    if key is None:
        if frame.signature and store.public_key(frame.originator, KeyUse.DIGITAL_SIGNATURE) is None:
            return trial  # nothing can be said of it, so it is carried along
        name = f"{frame.originator:016x}-ds.key"
        raise GbcsValueError(f"its signature does not hold, and there is no {name} to sign with")
    return replace(trial, signature=sign(received.signature_input, key))


def _maced(frame: Frame, lengths: tuple[int, ...], store: CertificateStore) -> Frame:
    trial = replace(frame, mac=frame.mac or bytes(MAC_OCTETS))
    received = parse_frame(build_frame(trial, lengths))
    if verify(received, store).mac is Verdict.VALID:
        return trial
    secret = next(iter(agreed_secrets(frame, store)), None)
    if secret is not None:
        return replace(trial, mac=frame_mac(secret, frame, received.grouping))
    if frame.mac is None:
        raise GbcsValueError("no key pair of its two parties is there to make its MAC with")
    return trial
