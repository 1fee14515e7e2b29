"""The trust centre's part of EZSP: network key updates, link keys on request, devices put out.

Source: Silicon Labs UG100, chapter 9 (trust centre and security frames). What comes of a request
later is told by switchNetworkKeyHandler and zigbeeKeyEstablishmentHandler.
"""

from __future__ import annotations

from emulator.ncp.commands.session import Fields, Handler, Session
from emulator.zigbee.events import Status
from emulator.zigbee.security import mmo_blocks, mmo_padding
from emulator.zigbee.trust_center import ApplicationKeyPolicy, TrustCenterKeyPolicy

# The padding has 32 bits for the number of bits of a message.
_MMO_MAX_OCTETS = 1 << 29

POLICY_TC_KEY_REQUEST = 0x05
POLICY_APP_KEY_REQUEST = 0x06


def set_key_request_policy(session: Session, policy: int, decision: int) -> Status:
    """What setPolicy does for the two policies that are the trust centre's."""
    trust_center = session.stack.trust_center
    try:
        if policy == POLICY_TC_KEY_REQUEST:
            trust_center.trust_center_key_policy = TrustCenterKeyPolicy(decision)
        elif policy == POLICY_APP_KEY_REQUEST:
            trust_center.application_key_policy = ApplicationKeyPolicy(decision)
    except ValueError:
        return Status.INVALID_PARAMETER
    return Status.OK


def broadcast_next_network_key(session: Session, request: Fields) -> Fields:
    return {"status": session.stack.key_switch.broadcast_next(request["key"])}


def broadcast_network_key_switch(session: Session, _request: Fields) -> Fields:
    return {"status": session.stack.key_switch.broadcast_switch()}


def unicast_nwk_key_update(session: Session, request: Fields) -> Fields:
    destination, eui64 = request["destShort"], request["destLong"]
    return {"status": session.stack.key_switch.unicast_next(destination, eui64, request["key"])}


def become_trust_center(_session: Session, _request: Fields) -> Fields:
    """For networks without a trust centre, of which there are none here."""
    return {"status": Status.INVALID_CALL}


def request_link_key(session: Session, request: Fields) -> Fields:
    return {"status": session.stack.trust_center_link.request_link_key(request["partner"])}


def update_tc_link_key(session: Session, request: Fields) -> Fields:
    return {"status": session.stack.trust_center_link.update_link_key(request["maxAttempts"])}


def send_trust_center_link_key(session: Session, request: Fields) -> Fields:
    destination, eui64 = request["destinationNodeId"], request["destinationEui64"]
    return {"status": session.stack.trust_center.send_link_key(destination, eui64)}


def remove_device(session: Session, request: Fields) -> Fields:
    status = session.stack.trust_center.remove_device(
        request["destShort"], request["destLong"], request["targetLong"]
    )
    return {"status": status}


def aes_mmo_hash(_session: Session, request: Fields) -> Fields:
    """Whole blocks of 16 octets, but for the last part of a message."""
    context, data = request["context"], request["data"]
    length = context["length"] + len(data)
    refused = {"status": Status.INVALID_PARAMETER, "returnContext": context}
    if length >= _MMO_MAX_OCTETS:
        return refused
    if request["finalize"]:
        data += mmo_padding(length)
    if len(data) % 16:
        return refused
    result = mmo_blocks(bytes(context["result"]), data)
    return {"status": Status.OK, "returnContext": {"result": result, "length": length}}


COMMANDS: dict[str, Handler] = {
    "broadcastNextNetworkKey": broadcast_next_network_key,
    "broadcastNetworkKeySwitch": broadcast_network_key_switch,
    "unicastNwkKeyUpdate": unicast_nwk_key_update,
    "becomeTrustCenter": become_trust_center,
    "requestLinkKey": request_link_key,
    "updateTcLinkKey": update_tc_link_key,
    "sendTrustCenterLinkKey": send_trust_center_link_key,
    "removeDevice": remove_device,
    "aesMmoHash": aes_mmo_hash,
}
