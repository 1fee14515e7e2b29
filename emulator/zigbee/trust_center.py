"""The trust centre: whom it gives link keys, how new ones are proved, and whom it puts out.

Source: ZigBee specification 05-3474 (R21), 4.7.3 (trust centre operation), 4.4.10 (commands);
Silicon Labs UG100 (EzspDecisionId: the two policies; EmberKeyStatus: what the host is told).

    Request Key of            policy           answer
    ------------------------  ---------------  --------------------------------------------------
    its trust centre link     DENY             nothing
    key                       SEND_CURRENT     Transport Key of the key in use
                              GENERATE_NEW     Transport Key of a new one, in use once verified
    an application link key   DENY             nothing
                              ALLOW            Transport Key of a new one, to both partners, if this
                                               trust centre shares a key with both

    Verify Key with           then             answer
    ------------------------  ---------------  --------------------------------------------------
    the new key's hash        it is in use     Confirm Key under it
    the hash of that in use                    Confirm Key under it
    another hash                               Confirm Key that says no, under that in use
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from emulator.medium.timing import Cancellable
from emulator.zigbee.aps_commands import (
    COMMAND_REQUEST_KEY,
    COMMAND_VERIFY_KEY,
    CONFIRMED,
    KEY_TYPE_TRUST_CENTER,
    REQUEST_APPLICATION_KEY,
    SECURITY_FAIL,
    ConfirmKey,
    RemoveDevice,
    RequestKey,
    TransportApplicationKey,
    TransportTrustCenterKey,
    VerifyKey,
    build,
    parse,
)
from emulator.zigbee.events import KeyStatus, LinkKeyNews, Status
from emulator.zigbee.security import (
    KEY_ID_DATA,
    KEY_ID_KEY_LOAD,
    KEY_OCTETS,
    verify_key_hash,
)
from emulator.zigbee.state import LinkKey

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

VERIFY_TIMEOUT_US = 10_000_000  # no source says how long EmberZNet keeps a key nobody verified
MAX_UNVERIFIED = 16


class TrustCenterKeyPolicy(Enum):
    """TC_KEY_REQUEST_POLICY; values are EZSP's EzspDecisionId."""

    DENY = 0x50
    SEND_CURRENT = 0x51
    GENERATE_NEW = 0x52


class ApplicationKeyPolicy(Enum):
    """APP_KEY_REQUEST_POLICY; values are EZSP's EzspDecisionId."""

    DENY = 0x60
    ALLOW = 0x61


class _Unverified(NamedTuple):
    key: bytes
    timer: Cancellable


class TrustCenter:
    """Answers for one stack where it is the trust centre; elsewhere it has nothing to do."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._unverified: dict[int, _Unverified] = {}
        self.trust_center_key_policy = TrustCenterKeyPolicy.DENY
        self.application_key_policy = ApplicationKeyPolicy.DENY
        stack.aps.command_handlers[COMMAND_REQUEST_KEY] = self._key_requested
        stack.aps.command_handlers[COMMAND_VERIFY_KEY] = self._verify_key

    def clear(self) -> None:
        """The network is gone, or the power."""
        for unverified in self._unverified.values():
            unverified.timer.cancel()
        self._unverified.clear()

    # -- what the host asks for ----------------------------------------------------------------

    def send_link_key(self, destination: int, eui64: int) -> Status:
        """Send a device the key that it shares with this trust centre."""
        entry = self._stack.aps.link_key(eui64)
        if not self._stack.is_trust_center:
            return Status.INVALID_CALL
        if entry is None:
            return Status.KEY_NOT_FOUND
        return self._transport(destination, eui64, entry.key, entry.key)

    def remove_device(self, destination: int, eui64: int, target_eui64: int) -> Status:
        """Put a device out: by its parent, by itself, or here where it is a child of this node."""
        stack = self._stack
        if not stack.is_trust_center:
            return Status.INVALID_CALL
        if eui64 != stack.state.eui64:
            command = build(RemoveDevice(target_eui64))
            return stack.aps.commands.send(destination, command, key_id=KEY_ID_DATA)
        child = stack.short_of(target_eui64)
        if child is None or target_eui64 == stack.state.eui64:
            return Status.INVALID_PARAMETER
        stack.children.remove_device(target_eui64)
        return Status.OK

    # -- Request Key ---------------------------------------------------------------------------

    def _key_requested(self, octets: bytes, source: int, secured: bool) -> None:
        command = parse(octets)
        stack = self._stack
        eui64 = stack.eui64_of(source)
        if not isinstance(command, RequestKey) or not stack.is_trust_center:
            return
        if not secured or eui64 is None:
            return  # who asks for a key has to have one
        requester = int.from_bytes(eui64, "little")
        if command.key_type == KEY_TYPE_TRUST_CENTER:
            self._answer_own(source, requester)
        elif command.key_type == REQUEST_APPLICATION_KEY and command.partner_eui64 is not None:
            status = self._answer_application(source, requester, command.partner_eui64)
            self._tell(requester, status)
        else:
            self._tell(requester, KeyStatus.TC_REQUEST_KEY_TYPE_NOT_SUPPORTED)

    def _answer_own(self, source: int, requester: int) -> None:
        stack = self._stack
        entry = stack.aps.link_key(requester)
        policy = self.trust_center_key_policy
        if entry is None or policy is TrustCenterKeyPolicy.DENY:
            return
        key = entry.key
        if policy is TrustCenterKeyPolicy.GENERATE_NEW:
            if len(self._unverified) >= MAX_UNVERIFIED and requester not in self._unverified:
                return  # it asks again
            key = self._draw()
            self._keep_unverified(requester, key)
        self._transport(source, requester, key, entry.key)
        self._tell(requester, KeyStatus.TC_RESPONDED_TO_KEY_REQUEST)

    def _answer_application(self, source: int, requester: int, partner: int) -> KeyStatus:
        stack = self._stack
        if self.application_key_policy is ApplicationKeyPolicy.DENY:
            return KeyStatus.TC_REJECTED_APP_KEY_REQUEST
        partner_short = stack.short_of(partner)
        own = partner in (requester, stack.state.eui64)
        if own or partner_short is None or stack.aps.link_key(partner) is None:
            return KeyStatus.TC_NO_LINK_KEY_FOR_REQUESTER
        key = self._draw()
        send = stack.aps.commands.send
        to_requester = build(TransportApplicationKey(key, partner, True))
        to_partner = build(TransportApplicationKey(key, requester, False))
        send(source, to_requester, key_id=KEY_ID_KEY_LOAD)
        send(partner_short, to_partner, key_id=KEY_ID_KEY_LOAD)
        return KeyStatus.TC_APP_KEY_SENT_TO_REQUESTER

    def _draw(self) -> bytes:
        return self._stack.random_bits(8 * KEY_OCTETS).to_bytes(KEY_OCTETS, "big")

    def _transport(self, destination: int, eui64: int, key: bytes, under: bytes) -> Status:
        command = build(TransportTrustCenterKey(key, eui64, self._stack.state.eui64))
        send = self._stack.aps.commands.send
        return send(destination, command, key_id=KEY_ID_KEY_LOAD, link_key=under)

    def _keep_unverified(self, eui64: int, key: bytes) -> None:
        old = self._unverified.pop(eui64, None)
        if old is not None:
            old.timer.cancel()
        clock = self._stack.clock
        due_us = clock.now_us() + VERIFY_TIMEOUT_US
        timer = clock.call_at_us(due_us, self._not_verified, eui64)
        self._unverified[eui64] = _Unverified(key, timer)

    def _not_verified(self, eui64: int) -> None:
        del self._unverified[eui64]
        self._tell(eui64, KeyStatus.TC_REQUESTER_VERIFY_KEY_TIMEOUT)

    # -- Verify Key ----------------------------------------------------------------------------

    def _verify_key(self, octets: bytes, source: int, _secured: bool) -> None:
        command = parse(octets)
        stack = self._stack
        eui64 = stack.eui64_of(source)
        if not isinstance(command, VerifyKey) or not stack.is_trust_center or eui64 is None:
            return
        device = int.from_bytes(eui64, "little")
        entry = stack.aps.link_key(device)
        if command.source_eui64 != device or entry is None:
            return
        status = SECURITY_FAIL
        key = entry.key
        unverified = self._unverified.get(device)
        if command.key_type != KEY_TYPE_TRUST_CENTER:
            pass
        elif unverified is not None and command.key_hash == verify_key_hash(unverified.key):
            unverified.timer.cancel()
            del self._unverified[device]
            if self._replace(device, entry, unverified.key):
                status, key = CONFIRMED, unverified.key
        elif command.key_hash == verify_key_hash(key):
            status = CONFIRMED
        confirm = build(ConfirmKey(status, KEY_TYPE_TRUST_CENTER, device))
        stack.aps.commands.send(source, confirm, key_id=KEY_ID_DATA, link_key=key)
        self._tell(
            device,
            KeyStatus.TC_REQUESTER_VERIFY_KEY_SUCCESS
            if status == CONFIRMED
            else KeyStatus.TC_REQUESTER_VERIFY_KEY_FAILURE,
        )

    def _replace(self, eui64: int, old: LinkKey, key: bytes) -> bool:
        stack = self._stack
        if not stack.state.put_link_key(eui64, key):
            return False
        entry = stack.state.link_key_of(eui64)
        assert entry is not None
        # The device counts on under its new key.
        entry.incoming_counter = max(entry.incoming_counter, old.incoming_counter)
        stack.aps.transient_keys.pop(eui64, None)
        stack.aps.keys_changed()
        stack.save()
        return True

    def _tell(self, partner: int, status: KeyStatus) -> None:
        self._stack.on_event(LinkKeyNews(partner, status))
