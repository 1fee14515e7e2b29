"""Key establishment with certificates and signatures, on both curves.

Source: Silicon Labs UG100, chapter 10; the values 0x1A to 0x1C (certificate, authority's key,
private key of suite 2) are set before savePreinstalledCbkeData283k1, which has no room for them.
On a stick without the library every one of these says LIBRARY_NOT_PRESENT.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from emulator.ncp.cbke_engine import CbkeEngine
from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.cbke.suites import SUITE_163K1, SUITE_283K1, Suite
from emulator.zigbee.events import Status

VALUE_CERTIFICATE_283K1 = 0x1A
VALUE_PUBLIC_KEY_283K1 = 0x1B
VALUE_PRIVATE_KEY_283K1 = 0x1C

# EmberLibraryId: which libraries the engine stands for, and the status bit of one that is there.
LIBRARY_PRESENT = 0x80
LIBRARY_ERROR = 0xFF
LIBRARIES = 0x15
CBKE_LIBRARIES = frozenset((0x06, 0x07, 0x08, 0x09, 0x0D, 0x0E, 0x0F, 0x13))

_MAX_SIGNED_OCTETS = 200  # with header and status they fit one frame

_Operation = Callable[[CbkeEngine, Fields], Fields]


def _handler(operation: _Operation) -> Handler:
    def handler(session: Session, request: Fields) -> Fields:
        if session.cbke is None:
            return {"status": Status.LIBRARY_NOT_PRESENT}
        return operation(session.cbke, request)

    return handler


def _generate_keys(suite: Suite, engine: CbkeEngine, _request: Fields) -> Fields:
    return {"status": engine.generate_keys(suite)}


def _calculate_smacs(suite: Suite, engine: CbkeEngine, request: Fields) -> Fields:
    status = engine.calculate_smacs(
        suite,
        bytes(request["partnerCertificate"]),
        bytes(request["partnerEphemeralPublicKey"]),
        am_initiator=bool(request["amInitiator"]),
    )
    return {"status": status}


def _clear(suite: Suite, engine: CbkeEngine, request: Fields) -> Fields:
    return {"status": engine.clear(suite, store=bool(request["storeLinkKey"]))}


def _get_certificate(suite: Suite, engine: CbkeEngine, _request: Fields) -> Fields:
    certificate = engine.certificate(suite)
    if certificate is None:
        return {"status": Status.FATAL}
    return {"status": Status.OK, "localCert": certificate}


def _sign(engine: CbkeEngine, request: Fields) -> Fields:
    message = request["messageContents"]
    if len(message) + SUITE_163K1.signature_octets > _MAX_SIGNED_OCTETS:
        return {"status": Status.MESSAGE_TOO_LONG}
    return {"status": engine.sign(message)}


def _verify(suite: Suite, engine: CbkeEngine, request: Fields) -> Fields:
    status = engine.verify(
        suite,
        bytes(request["digest"]),
        bytes(request["signerCertificate"]),
        bytes(request["receivedSig"]),
    )
    return {"status": status}


def _set_preinstalled(engine: CbkeEngine, request: Fields) -> Fields:
    status = engine.save_identity(
        SUITE_163K1,
        bytes(request["myCert"]),
        bytes(request["myKey"]),
        bytes(request["caPublic"]),
    )
    return {"status": status}


def save_preinstalled_283k1(session: Session, _request: Fields) -> Fields:
    if session.cbke is None:
        return {"status": Status.LIBRARY_NOT_PRESENT}
    # Wherever it ends, the private key does not stay where getValue reads it.
    private_key = session.values.pop(VALUE_PRIVATE_KEY_283K1, b"")
    status = session.cbke.save_identity(
        SUITE_283K1,
        session.values.get(VALUE_CERTIFICATE_283K1, b""),
        private_key,
        session.values.get(VALUE_PUBLIC_KEY_283K1, b""),
    )
    return {"status": status}


def get_library_status(session: Session, request: Fields) -> Fields:
    """Bit 7 tells a library from its stub; the stack's own are there."""
    if request["libraryId"] >= LIBRARIES:
        return {"status": LIBRARY_ERROR}
    is_stub = session.cbke is None and request["libraryId"] in CBKE_LIBRARIES
    return {"status": 0 if is_stub else LIBRARY_PRESENT}


def _of_both(
    name: str, operation: Callable[[Suite, CbkeEngine, Fields], Fields]
) -> dict[str, Handler]:
    return {
        name: _handler(partial(operation, SUITE_163K1)),
        f"{name}283k1": _handler(partial(operation, SUITE_283K1)),
    }


COMMANDS: dict[str, Handler] = {
    **_of_both("generateCbkeKeys", _generate_keys),
    **_of_both("calculateSmacs", _calculate_smacs),
    **_of_both("clearTemporaryDataMaybeStoreLinkKey", _clear),
    **_of_both("getCertificate", _get_certificate),
    **_of_both("dsaVerify", _verify),
    "dsaSign": _handler(_sign),
    "setPreinstalledCbkeData": _handler(_set_preinstalled),
    "savePreinstalledCbkeData283k1": save_preinstalled_283k1,
    "getLibraryStatus": get_library_status,
}
