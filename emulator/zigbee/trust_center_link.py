"""What a device has to do with its trust centre: the keys it gets from it, and being removed.

Source: ZigBee specification 05-3474 (R21), 4.6.3.2.3 (authentication), 4.4.10 (commands), 4.7.3.8
(a new trust centre link key); Smart Energy profile 07-5356, 5.4.2.2.3 (trust centre swap-out: the
new one has the hashes of the old one's link keys, and nothing else).

    state      event                              next       effect
    ---------  ---------------------------------  ---------  -----------------------------------
    IDLE       request_link_key(partner)          ASKED      Request Key
    IDLE       request or update of its own key   ASKED      Request Key
    ASKED      Transport Key of the partner's     IDLE       key table, APP_LINK_KEY_ESTABLISHED
    any        Transport Key of its own           VERIFYING  Verify Key under nobody's key
    VERIFYING  Confirm Key under the new key      IDLE       the new key is stored
    VERIFYING  Confirm Key that says no           IDLE       VERIFY_LINK_KEY_FAILURE
    ASKED      time is up, attempts left          ASKED      Request Key once more
    ASKED      time is up                         IDLE       KEY_ESTABLISHMENT_TIMEOUT
    VERIFYING  time is up                         IDLE       VERIFY_LINK_KEY_FAILURE

A partner's key that nobody asked for here is taken too: both partners get it when one asks.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from emulator.medium.timing import Cancellable
from emulator.zigbee import aps
from emulator.zigbee.aps import ApsError, TransportKey
from emulator.zigbee.aps_commands import (
    COMMAND_CONFIRM_KEY,
    CONFIRMED,
    KEY_TYPE_TRUST_CENTER,
    REQUEST_APPLICATION_KEY,
    ConfirmKey,
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
    SecurityError,
    key_transport_key,
    mmo_hash,
    verify_key_hash,
)
from emulator.zigbee.state import LinkKey

if TYPE_CHECKING:
    from emulator.zigbee.stack import Stack

ANSWER_TIMEOUT_US = 5_000_000  # no source says how long EmberZNet waits for a key
TRUST_CENTER = 0x0000


class _State(Enum):
    IDLE = auto()
    ASKED = auto()
    VERIFYING = auto()


class TrustCenterLink:
    """A device's half of every exchange about keys. On a trust centre it has nothing to do."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._state = _State.IDLE
        self._partner = 0
        self._attempts_left = 0
        self._timer: Cancellable | None = None
        handlers = stack.aps.command_handlers
        handlers[aps.COMMAND_TRANSPORT_KEY] = self._key_transported
        handlers[COMMAND_CONFIRM_KEY] = self._key_confirmed

    def clear(self) -> None:
        """The network is gone, or the power."""
        self._stop()
        self._stack.aps.unconfirmed = None

    # -- the network key, for who has none -----------------------------------------------------

    def open_network_key(
        self, frame: bytes, extended_pan_id: int, *, is_rejoin: bool = False
    ) -> tuple[TransportKey, Status] | None:
        """The network key that a trust centre sent a node without one, if it is for this node:
        under its link key, or, when it was in this network before, under that key's hash.

        With it comes what the host is told: NETWORK_UP, or that the trust centre is another one.
        From then on the link key is the one that it came under; the caller saves. Who joins anew
        takes any frame counter: the trust centre may have begun anew too.
        """
        stack = self._stack
        state = stack.state
        before = state.network
        if before is not None and before.extended_pan_id != extended_pan_id:
            before = None
        keys = [] if state.preconfigured_key is None else [state.preconfigured_key]
        known = None if before is None else state.link_key_of(before.trust_center_eui64)
        if known is not None:
            keys.insert(0, known.key)
        hashes = [mmo_hash(key) for key in keys]
        for key in (*keys, *hashes):
            try:
                frame_key = stack.aps.frame_key(key_transport_key(key))
                command, counter = aps.open_transport_key(frame_key, frame)
            except SecurityError:
                continue
            except ApsError:
                break
            if command.destination_eui64 != state.eui64:
                return None
            swapped = before is not None and before.trust_center_eui64 != command.source_eui64
            if key in hashes and not swapped:
                break  # only another trust centre has nothing but the hash
            if is_rejoin and not swapped and self._is_replay(command.source_eui64, key, counter):
                stack.replays_rejected += 1
                return None
            self._take_over(command.source_eui64, key, counter + 1)
            if swapped and (is_rejoin or key in hashes):
                return command, Status.TRUST_CENTER_EUI_HAS_CHANGED
            return command, Status.NETWORK_UP
        stack.undecodable += 1
        return None

    def _is_replay(self, trust_center: int, key: bytes, counter: int) -> bool:
        kept = self._stack.aps.link_key(trust_center)
        return kept is not None and kept.key == key and counter < kept.incoming_counter

    def _take_over(self, trust_center: int, key: bytes, counter: int) -> None:
        """`key` is the one shared with `trust_center`; its frames below `counter` are replays."""
        state = self._stack.state
        if state.network is not None:
            state.drop_link_key(state.network.trust_center_eui64)
        state.drop_link_key(trust_center)
        state.preconfigured_key = key
        state.trust_center_counter = counter
        self._stack.aps.forget_counters()

    # -- asking for link keys ------------------------------------------------------------------

    def request_link_key(self, partner: int, attempts: int = 1) -> Status:
        """Ask for a key shared with `partner`, or for a new one shared with the trust centre; then
        LinkKeyNews tells.
        """
        stack = self._stack
        network = stack.state.network
        if not stack.is_up or network is None:
            return Status.NOT_JOINED
        if stack.is_trust_center or self._state is not _State.IDLE:
            return Status.INVALID_CALL
        if partner == stack.state.eui64 or attempts < 1:
            return Status.INVALID_PARAMETER
        self._partner = partner
        self._attempts_left = attempts
        return self._ask()

    def update_link_key(self, attempts: int) -> Status:
        """Ask for a new key shared with the trust centre."""
        network = self._stack.state.network
        if network is None:
            return Status.NOT_JOINED
        return self.request_link_key(network.trust_center_eui64, attempts)

    def _ask(self) -> Status:
        network = self._stack.state.network
        assert network is not None
        own = self._partner == network.trust_center_eui64
        request = (
            RequestKey(KEY_TYPE_TRUST_CENTER)
            if own
            else RequestKey(REQUEST_APPLICATION_KEY, self._partner)
        )
        status = self._stack.aps.commands.send(TRUST_CENTER, build(request), key_id=KEY_ID_DATA)
        if status is Status.OK:
            self._attempts_left -= 1
            self._enter(_State.ASKED)
        return status

    def _enter(self, state: _State) -> None:
        self._stop()
        self._state = state
        clock = self._stack.clock
        self._timer = clock.call_at_us(clock.now_us() + ANSWER_TIMEOUT_US, self._time_is_up)

    def _stop(self) -> None:
        self._state = _State.IDLE
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        state = self._state
        self._stop()
        if state is _State.VERIFYING:
            self._stack.aps.unconfirmed = None
            self._tell(self._partner, KeyStatus.VERIFY_LINK_KEY_FAILURE)
        elif not self._attempts_left or self._ask() is not Status.OK:
            self._tell(self._partner, KeyStatus.KEY_ESTABLISHMENT_TIMEOUT)

    def _tell(self, partner: int, status: KeyStatus) -> None:
        self._stack.on_event(LinkKeyNews(partner, status))

    # -- what the trust centre says ------------------------------------------------------------

    def _is_from_trust_center(self, source: int, secured: bool) -> bool:
        return secured and source == TRUST_CENTER and not self._stack.is_trust_center

    def _key_transported(self, octets: bytes, source: int, secured: bool) -> None:
        command = parse(octets)
        if isinstance(command, TransportKey):
            self._stack.key_switch.receive(command, source, secured)
        elif not self._is_from_trust_center(source, secured):
            return
        elif isinstance(command, TransportApplicationKey):
            self._partner_key(command)
        elif isinstance(command, TransportTrustCenterKey):
            self._own_key(command)

    def _partner_key(self, command: TransportApplicationKey) -> None:
        stack = self._stack
        partner = command.partner_eui64
        if partner == stack.state.eui64:
            return
        kept = stack.state.put_link_key(partner, command.key)
        if kept:
            stack.aps.keys_changed()
            stack.save()
        if self._state is _State.ASKED and self._partner == partner:
            self._stop()
        self._tell(
            partner, KeyStatus.APP_LINK_KEY_ESTABLISHED if kept else KeyStatus.KEY_TABLE_FULL
        )

    def _own_key(self, command: TransportTrustCenterKey) -> None:
        stack = self._stack
        network = stack.state.network
        assert network is not None
        trust_center = network.trust_center_eui64
        if command.destination_eui64 != stack.state.eui64 or command.source_eui64 != trust_center:
            return
        stack.aps.unconfirmed = LinkKey(trust_center, command.key)
        self._partner = trust_center
        self._enter(_State.VERIFYING)
        proof = VerifyKey(KEY_TYPE_TRUST_CENTER, stack.state.eui64, verify_key_hash(command.key))
        stack.aps.commands.send(TRUST_CENTER, build(proof))

    def _key_confirmed(self, octets: bytes, source: int, secured: bool) -> None:
        command = parse(octets)
        stack = self._stack
        unconfirmed = stack.aps.unconfirmed
        if (
            not isinstance(command, ConfirmKey)
            or not self._is_from_trust_center(source, secured)
            or command.destination_eui64 != stack.state.eui64
            or unconfirmed is None
        ):
            return
        self._stop()
        stack.aps.unconfirmed = None
        if command.status != CONFIRMED:
            self._tell(unconfirmed.eui64, KeyStatus.VERIFY_LINK_KEY_FAILURE)
            return
        partner = stack.aps.partner(source)
        heard = 0 if partner is None else partner.link_key.incoming_counter
        self.replace_link_key(unconfirmed.key, heard)
        self._tell(unconfirmed.eui64, KeyStatus.TRUST_CENTER_LINK_KEY_ESTABLISHED)
        self._tell(unconfirmed.eui64, KeyStatus.VERIFY_LINK_KEY_SUCCESS)

    def replace_link_key(self, key: bytes, counter: int = 0) -> None:
        """`key` is the one shared with the trust centre from now on, durably; frames of it below
        `counter` are replays.
        """
        network = self._stack.state.network
        assert network is not None
        self._take_over(network.trust_center_eui64, key, counter)
        self._stack.save()
