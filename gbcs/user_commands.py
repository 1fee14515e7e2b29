"""Commands of a user whom the device knows: made for the user, checked, MACed by the ACB; and what
comes back to the user.

Source: GBCS, known remote party: originator and counter are the user's, other information is the
message code alone; a critical command is signed by the user, and the ACB adds its MAC to both
kinds. A response or alert goes to the user by way of the DSP, which has only the device's
certificates: it can check a signature, and a MAC only where it holds the user's key.

    of a frame to a user                                     verdict
    -------------------------------------------------------  -----------------------
    no frame of this device to this user, a command          refused, with the reason
    signed as its code demands, and the signature holds      PROVEN
    MACed as its code demands, and the key is held           PROVEN, or refused
    MACed as its code demands, and the key is not held       UNPROVEN: for the user to judge
"""

from __future__ import annotations

from enum import Enum, auto

from gbcs.codes import MACED, Protection, required_protections
from gbcs.envelope import (
    Cra,
    Frame,
    OtherInformation,
    ReceivedFrame,
    build_unsigned,
)
from gbcs.errors import GbcsValueError
from gbcs.protection import (
    KeyStore,
    KeyUse,
    Verdict,
    add_mac,
    agreed_secret,
    is_signed,
    protected_octets,
    verify,
)


class Proof(Enum):
    """What a frame to a user proves to the DSP."""

    PROVEN = auto()
    UNPROVEN = auto()


def _frame(
    code: int, user: int, counter: int, device: int, payload: bytes, signature: bytes | None
) -> Frame:
    return Frame(
        cra=Cra.COMMAND,
        originator_counter=counter,
        originator=user,
        recipient=device,
        other_information=OtherInformation(code),
        payload=payload,
        signature=signature,
    )


def pre_command(code: int, user: int, counter: int, device: int, payload: bytes) -> bytes:
    """What the user is to sign."""
    return build_unsigned(_frame(code, user, counter, device, payload, None))


def maced_command(
    code: int, user: int, counter: int, device: int, payload: bytes, keys: KeyStore, acb: int
) -> bytes:
    """A command that is not critical."""
    frame = _frame(code, user, counter, device, payload, b"")
    return protected_octets(frame, secret=_secret(keys, acb, device))


def is_signed_by(received: ReceivedFrame, user: int, keys: KeyStore) -> bool:
    """Whether the user signed a pre-command; False too when the user's certificate is not held."""
    key = keys.public_key(user, KeyUse.DIGITAL_SIGNATURE)
    signature = received.frame.signature
    return (
        key is not None
        and bool(signature)
        and is_signed(signature or b"", received.signature_input, key)
    )


def complete_command(received: ReceivedFrame, keys: KeyStore, acb: int) -> bytes:
    """The command a device takes: the signed pre-command with the MAC of the ACB."""
    secret = _secret(keys, acb, received.frame.recipient)
    return add_mac(received.octets, received.frame, secret)


def judge(received: ReceivedFrame, keys: KeyStore) -> Proof | str:
    """What a response or alert to a user proves, or why it is refused."""
    frame = received.frame
    if frame.cra is Cra.COMMAND:
        return "a device sends responses and alerts, not commands"
    if not keys.is_device(frame.originator):
        return f"no device {frame.originator:016X} is known"
    found = Protection(signature=bool(frame.signature), mac=frame.mac is not None)
    required = required_protections(frame.message_code, frame.cra) or (MACED,)
    if found not in required:
        return "it does not have the protection its message needs"
    verdicts = verify(received, keys)
    for name, verdict in zip(verdicts._fields, verdicts, strict=True):
        if verdict is Verdict.INVALID or (name == "signature" and verdict is Verdict.NO_KEY):
            return f"its {'MAC' if name == 'mac' else name} is judged {verdict}"
    return Proof.UNPROVEN if verdicts.mac is Verdict.NO_KEY else Proof.PROVEN


def _secret(keys: KeyStore, acb: int, device: int) -> bytes:
    secret = agreed_secret(keys, acb, device)
    if secret is None:
        raise GbcsValueError(f"the store has no certificate {device:016X}-ka")
    return secret
