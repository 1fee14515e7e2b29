"""Key establishment between two devices: client and server, from certificates to the link key.

Source: Smart Energy profile 07-5356, annex C.3 (the cluster) and C.5 (a worked example).

    state      event                               next       effect
    ---------  ----------------------------------  ---------  ------------------------------------
    IDLE       start                               INITIATED  Initiate request
    INITIATED  Initiate response that is good      EXCHANGED  Ephemeral Data request
    EXCHANGED  Ephemeral Data response             CONFIRMED  both MACs computed, MACU sent
    CONFIRMED  MACV that is right                  IDLE       Established
    IDLE       Initiate request that is good       ANSWERED   Initiate response
    ANSWERED   Ephemeral Data request              AGREED     both MACs computed, response
    AGREED     MACU that is right                  IDLE       MACV sent, Established
    ANSWERED,  Initiate request of the partner     ANSWERED   Failed, then as from IDLE: it
    AGREED                                                    was restarted, or lost the response
    any        anything bad or out of turn of the  IDLE       Terminate with the reason, Failed
               partner
    any        Terminate of the partner            IDLE       Failed
    any        timeout                             IDLE       Failed; nothing is sent
    not IDLE   Initiate request of another         same       Terminate: no resources
    INITIATED  Initiate request of the partner:    same       Terminate: no resources
    and on     both began at once
    any        another command of another, or in   same       Terminate: bad message
               the direction of the other role
    any        Terminate of either                 same       Anomaly

A device has one exchange at a time, in either role. Frames are unicasts under the network key. A
certificate must be of the own certificate's issuer, name its sender, and allow key agreement.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from emulator.zigbee import zcl
from emulator.zigbee.cbke import commands
from emulator.zigbee.cbke.binary_curve import GetRandBits
from emulator.zigbee.cbke.commands import (
    ConfirmKeyData,
    EphemeralData,
    InitiateKeyEstablishment,
    KeyEstablishmentCommand,
    TerminateKeyEstablishment,
    TerminateStatus,
)
from emulator.zigbee.cbke.ecmqv import Agreement, agree
from emulator.zigbee.cbke.ecqv import (
    KEY_AGREEMENT,
    Certificate283k1,
    Identity,
    parse_certificate,
)
from emulator.zigbee.cbke.errors import CbkeError, CbkeValueError
from emulator.zigbee.cbke.suites import KeyPair, generate_key_pair
from emulator.zigbee.zcl import ZclError, ZclFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEstablishmentParameters:
    """The times of Ember's implementation: a partner gets `base_s` beyond what it says it takes."""

    base_s: float = 10.0
    ephemeral_data_generate_time_s: int = 11
    confirm_key_generate_time_s: int = 16
    back_off_s: int = 30


class SendZcl(NamedTuple):
    """Send to `peer`, an EUI-64: unicast on the cluster, no APS security, in fragments if long."""

    peer: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """Both sides have proved that they know `link_key`; it takes the place of the old one."""

    peer: int
    link_key: bytes
    am_initiator: bool

    def __repr__(self) -> str:  # keys never reach a log
        return f"Established({self.peer:016X})"


@dataclass(frozen=True, slots=True)
class Failed:
    """The exchange is over. `status` is that of a Terminate, ours or theirs; None at a timeout.

    The partner asks not to be bothered for `wait_s`.
    """

    peer: int
    reason: str
    status: int | None = None
    wait_s: int = 0


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something came that should not have; nothing changed."""

    peer: int
    detail: str


Output = SendZcl | Established | Failed | Anomaly


class State(Enum):
    IDLE = auto()
    INITIATED = auto()
    EXCHANGED = auto()
    CONFIRMED = auto()
    ANSWERED = auto()
    AGREED = auto()


_AS_CLIENT = (State.INITIATED, State.EXCHANGED, State.CONFIRMED)


class _Refused(Exception):
    """What came is answered by a Terminate."""

    def __init__(self, status: TerminateStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Exchange:
    __slots__ = ("agreement", "due", "ephemeral", "identity", "partner", "peer", "state")

    def __init__(self, peer: int, identity: Identity, state: State, due: float) -> None:
        self.peer = peer
        self.identity = identity
        self.state = state
        self.due = due
        self.partner: InitiateKeyEstablishment | None = None
        self.ephemeral: KeyPair | None = None
        self.agreement: Agreement | None = None


class KeyEstablishment:
    """Both roles of one device. `now` is loop time in seconds, `getrandbits` its random bits.

    There is one identity for each suite the device has.
    """

    def __init__(
        self,
        identities: Iterable[Identity],
        getrandbits: GetRandBits,
        parameters: KeyEstablishmentParameters | None = None,
    ) -> None:
        self._identities = {identity.suite.bit: identity for identity in identities}
        self._getrandbits = getrandbits
        self._parameters = parameters or KeyEstablishmentParameters()
        self._exchange: _Exchange | None = None
        self._tsn = 0

    @property
    def suites(self) -> int:
        """The attribute KeyEstablishmentSuite."""
        return sum(self._identities)

    @property
    def state(self) -> State:
        return State.IDLE if self._exchange is None else self._exchange.state

    @property
    def peer(self) -> int | None:
        """The EUI-64 of the partner, None between exchanges."""
        return None if self._exchange is None else self._exchange.peer

    # -- as client -----------------------------------------------------------------------------

    def start(self, peer: int, suite_bit: int, now: float) -> list[Output]:
        """Begin with `peer`. Raises CbkeValueError while another exchange is under way, or without
        an identity of that suite."""
        identity = self._identities.get(suite_bit)
        if identity is None:
            raise CbkeValueError(f"there is no identity of suite 0x{suite_bit:04X}")
        if self._exchange is not None:
            raise CbkeValueError(
                f"key establishment with {self._exchange.peer:016X} is under way already"
            )
        due = now + self._parameters.base_s
        self._exchange = _Exchange(peer, identity, State.INITIATED, due)
        return [self._request(peer, self._initiate(identity))]

    def _initiate_response(self, exchange: _Exchange, payload: bytes, now: float) -> list[Output]:
        partner = commands.parse_initiate(payload)
        if partner.key_establishment_suite != exchange.identity.suite.bit:
            raise _Refused(TerminateStatus.UNSUPPORTED_SUITE, "another suite than was asked for")
        _check_partner(exchange.peer, exchange.identity, partner)
        exchange.partner = partner
        exchange.ephemeral = generate_key_pair(exchange.identity.suite, self._getrandbits)
        exchange.state = State.EXCHANGED
        exchange.due = now + self._parameters.base_s + partner.ephemeral_data_generate_time_s
        return [self._request(exchange.peer, EphemeralData(exchange.ephemeral.public_key))]

    def _ephemeral_data_response(
        self, exchange: _Exchange, payload: bytes, now: float
    ) -> list[Output]:
        assert exchange.partner is not None
        agreement = self._agree(exchange, payload, am_initiator=True)
        exchange.state = State.CONFIRMED
        exchange.due = now + self._parameters.base_s + exchange.partner.confirm_key_generate_time_s
        return [self._request(exchange.peer, ConfirmKeyData(agreement.initiator_smac))]

    def _confirm_key_response(
        self, exchange: _Exchange, payload: bytes, _now: float
    ) -> list[Output]:
        assert exchange.agreement is not None
        _check_smac(payload, exchange.agreement.responder_smac)
        self._exchange = None
        return [Established(exchange.peer, exchange.agreement.link_key, am_initiator=True)]

    # -- as server -----------------------------------------------------------------------------

    def _initiate_request(self, peer: int, frame: ZclFrame, now: float) -> list[Output]:
        exchange = self._exchange
        if exchange is not None and (exchange.peer != peer or exchange.state in _AS_CLIENT):
            status, reason = TerminateStatus.NO_RESOURCES, "another exchange is under way"
            return [self._terminate(peer, frame, status), Anomaly(peer, reason)]
        self._exchange = None
        try:
            partner = commands.parse_initiate(frame.payload)
            identity = self._identities.get(partner.key_establishment_suite)
            if identity is None:
                raise _Refused(
                    TerminateStatus.UNSUPPORTED_SUITE,
                    f"suite 0x{partner.key_establishment_suite:04X} is not here",
                )
            _check_partner(peer, identity, partner)
        except (_Refused, ZclError, CbkeError) as error:
            status = _status(error)
            return [self._terminate(peer, frame, status), Failed(peer, str(error), status)]
        due = now + self._parameters.base_s + partner.ephemeral_data_generate_time_s
        self._exchange = _Exchange(peer, identity, State.ANSWERED, due)
        self._exchange.partner = partner
        response = self._respond(peer, frame, self._initiate(identity))
        if exchange is None:
            return [response]
        return [Failed(peer, "the partner began anew"), response]

    def _ephemeral_data_request(
        self, exchange: _Exchange, frame: ZclFrame, now: float
    ) -> list[Output]:
        assert exchange.partner is not None
        ephemeral = generate_key_pair(exchange.identity.suite, self._getrandbits)
        exchange.ephemeral = ephemeral
        self._agree(exchange, frame.payload, am_initiator=False)
        exchange.state = State.AGREED
        exchange.due = now + self._parameters.base_s + exchange.partner.confirm_key_generate_time_s
        return [self._respond(exchange.peer, frame, EphemeralData(ephemeral.public_key))]

    def _confirm_key_request(
        self, exchange: _Exchange, frame: ZclFrame, _now: float
    ) -> list[Output]:
        assert exchange.agreement is not None
        agreement = exchange.agreement
        _check_smac(frame.payload, agreement.initiator_smac)
        self._exchange = None
        return [
            self._respond(exchange.peer, frame, ConfirmKeyData(agreement.responder_smac)),
            Established(exchange.peer, agreement.link_key, am_initiator=False),
        ]

    # -- frames and time -----------------------------------------------------------------------

    def receive(self, peer: int, frame: ZclFrame, now: float) -> list[Output]:
        """One command of the cluster from `peer`; attributes are the application's."""
        if not frame.is_cluster_command or frame.manufacturer_code is not None:
            return [Anomaly(peer, "no command of the cluster")]
        if frame.command == commands.TERMINATE_KEY_ESTABLISHMENT:
            return self._terminated(peer, frame)
        if frame.command == commands.INITIATE_KEY_ESTABLISHMENT and not frame.is_from_server:
            return self._initiate_request(peer, frame, now)
        exchange = self._partner_of(peer, frame)
        if exchange is None:
            status, reason = TerminateStatus.BAD_MESSAGE, "a command of no exchange"
            return [self._terminate(peer, frame, status), Anomaly(peer, reason)]
        try:
            return self._advance(exchange, frame, now)
        except (_Refused, ZclError, CbkeError) as error:
            status = _status(error)
            self._exchange = None
            return [self._terminate(peer, frame, status), Failed(peer, str(error), status)]

    def _advance(self, exchange: _Exchange, frame: ZclFrame, now: float) -> list[Output]:
        match exchange.state, frame.command:
            case State.INITIATED, commands.INITIATE_KEY_ESTABLISHMENT:
                return self._initiate_response(exchange, frame.payload, now)
            case State.EXCHANGED, commands.EPHEMERAL_DATA:
                return self._ephemeral_data_response(exchange, frame.payload, now)
            case State.CONFIRMED, commands.CONFIRM_KEY_DATA:
                return self._confirm_key_response(exchange, frame.payload, now)
            case State.ANSWERED, commands.EPHEMERAL_DATA:
                return self._ephemeral_data_request(exchange, frame, now)
            case State.AGREED, commands.CONFIRM_KEY_DATA:
                return self._confirm_key_request(exchange, frame, now)
        raise _Refused(TerminateStatus.BAD_MESSAGE, f"command {frame.command} out of turn")

    def next_timeout(self) -> float | None:
        """Loop time at which `handle_timeout` has something to do, None between exchanges."""
        return None if self._exchange is None else self._exchange.due

    def handle_timeout(self, now: float) -> list[Output]:
        exchange = self._exchange
        if exchange is None or now < exchange.due:
            return []
        self._exchange = None
        return [Failed(exchange.peer, f"no answer in time, {exchange.state.name}")]

    def abandon(self) -> list[Output]:
        """Forget the exchange, as when the partner has left."""
        exchange, self._exchange = self._exchange, None
        return [] if exchange is None else [Failed(exchange.peer, "abandoned")]

    def _partner_of(self, peer: int, frame: ZclFrame) -> _Exchange | None:
        """The exchange that a frame is of: its sender's, and in the direction of its role."""
        exchange = self._exchange
        if exchange is None or exchange.peer != peer:
            return None
        return exchange if frame.is_from_server == (exchange.state in _AS_CLIENT) else None

    def _terminated(self, peer: int, frame: ZclFrame) -> list[Output]:
        exchange = self._partner_of(peer, frame)
        if exchange is None:
            return [Anomaly(peer, "Terminate of no exchange")]
        try:
            command = commands.parse_terminate(frame.payload)
        except ZclError as error:
            return [Anomaly(peer, str(error))]
        self._exchange = None
        return [Failed(peer, "the partner ended it", command.status, command.wait_time_s)]

    def _agree(self, exchange: _Exchange, payload: bytes, *, am_initiator: bool) -> Agreement:
        assert exchange.partner is not None
        assert exchange.ephemeral is not None
        exchange.agreement = agree(
            exchange.identity,
            exchange.ephemeral,
            exchange.partner.identity,
            commands.parse_ephemeral_data(payload).public_key,
            am_initiator=am_initiator,
        )
        return exchange.agreement

    def _initiate(self, identity: Identity) -> InitiateKeyEstablishment:
        parameters = self._parameters
        return InitiateKeyEstablishment(
            identity.suite.bit,
            parameters.ephemeral_data_generate_time_s,
            parameters.confirm_key_generate_time_s,
            identity.certificate,
        )

    def _request(self, peer: int, command: KeyEstablishmentCommand) -> SendZcl:
        self._tsn = (self._tsn + 1) % 256
        return _send(peer, zcl.REQUEST, self._tsn, command)

    def _respond(self, peer: int, frame: ZclFrame, command: KeyEstablishmentCommand) -> SendZcl:
        return _send(peer, zcl.RESPONSE, frame.tsn, command)

    def _terminate(self, peer: int, frame: ZclFrame, status: TerminateStatus) -> SendZcl:
        wait_s = self._parameters.back_off_s if status is TerminateStatus.NO_RESOURCES else 0
        command = TerminateKeyEstablishment(status, wait_s, self.suites)
        control = zcl.REQUEST if frame.is_from_server else zcl.RESPONSE
        return _send(peer, control, frame.tsn, command)


def _send(peer: int, control: int, tsn: int, command: KeyEstablishmentCommand) -> SendZcl:
    number = commands.COMMAND_IDS[type(command)]
    return SendZcl(peer, zcl.build(ZclFrame(control, tsn, number, commands.build(command))))


def _check_partner(peer: int, identity: Identity, partner: InitiateKeyEstablishment) -> None:
    """Raises _Refused or CbkeError unless a partner's Initiate is one to go on with."""
    certificate = parse_certificate(identity.suite, partner.identity, "partner's certificate")
    if certificate.issuer != identity.fields.issuer:
        raise _Refused(
            TerminateStatus.UNKNOWN_ISSUER, f"issuer {certificate.issuer:016X} is not known"
        )
    if certificate.subject != peer:
        raise _Refused(
            TerminateStatus.BAD_MESSAGE, f"the certificate is of {certificate.subject:016X}"
        )
    if isinstance(certificate, Certificate283k1) and not certificate.key_usage & KEY_AGREEMENT:
        raise _Refused(
            TerminateStatus.INVALID_KEY_USAGE, "the certificate does not allow key agreement"
        )
    times = partner.ephemeral_data_generate_time_s, partner.confirm_key_generate_time_s
    if commands.NOT_VALID_S in times:
        raise _Refused(TerminateStatus.BAD_MESSAGE, "a generate time is not valid")


def _check_smac(payload: bytes, expected: bytes) -> None:
    if not hmac.compare_digest(commands.parse_confirm_key_data(payload).smac, expected):
        raise _Refused(TerminateStatus.BAD_KEY_CONFIRM, "the MAC does not match")


def _status(error: _Refused | ZclError | CbkeError) -> TerminateStatus:
    return error.status if isinstance(error, _Refused) else TerminateStatus.BAD_MESSAGE
