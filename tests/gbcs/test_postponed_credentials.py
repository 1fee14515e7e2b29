"""A replacement of credentials that is for later: kept, carried out when its time comes, told."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from credential_rig import (
    ACB_AGREEMENT,
    ACB_SIGNING,
    answered,
    by_recovery,
    device,
    discarded,
    newer,
    path,
    recovery_control,
    replaced,
    statuses,
    stranger,
)
from gbcs_rig import EPOCH, broker, dsp_keys, trust_cells

from gbcs.acb import AccessControlBroker, Alert, BrokerState
from gbcs.certificates import Role
from gbcs.credentials import (
    NEVER,
    CredentialStatus,
    FutureCredentialsUpdate,
    UpdateCredentials,
)
from gbcs.endpoint import Endpoint, Reason
from gbcs.envelope import parse_frame
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, PPMID_EUI64, RECOVERY_EUI64

pytestmark = pytest.mark.requirement("MP170-R8", "good")

DUE = EPOCH + timedelta(hours=6)
SIGN, AGREE = KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_AGREEMENT


def for_later(dsp: AccessControlBroker, due: datetime = DUE, use: KeyUse = SIGN) -> bytes:
    cell = ACB_SIGNING if use is SIGN else ACB_AGREEMENT
    pair = (cell, newer(use=use).certificate)
    return dsp.update_own_credentials(PPMID_EUI64, replaced(pair), path(), execution_date_time=due)


def told(endpoint: Endpoint, dsp: AccessControlBroker, now: datetime) -> FutureCredentialsUpdate:
    """The one alert about what was due."""
    (frame,) = endpoint.execute_due(now)
    outcome = dsp.receive(frame)
    assert isinstance(outcome, Alert), outcome
    assert outcome.message_code == 0x00CB
    assert isinstance(outcome.payload, FutureCredentialsUpdate)
    return outcome.payload


def test_a_replacement_for_later_is_accepted_and_made_when_its_time_comes() -> None:
    endpoint, dsp = device(), broker()
    assert answered(endpoint, for_later(dsp)).outcome is None
    assert endpoint.next_due == DUE
    assert endpoint.execute_due(DUE - timedelta(seconds=1)) == []
    assert endpoint.credentials.trust == trust_cells()
    alert = told(endpoint, dsp, DUE)
    assert (alert.alert_code, alert.execution_date_time) == (0x8F66, DUE)
    assert statuses(alert.outcome) == [CredentialStatus.SUCCESS]
    new = newer(use=SIGN).certificate
    assert endpoint.credentials.trust.acb_digital_signature == new
    assert alert.outcome.replacements[0].replacing_key_id == new.subject_key_id
    assert endpoint.next_due is None
    assert endpoint.execute_due(DUE) == []


def test_what_waits_outlives_a_restart_and_is_made_late_rather_than_never() -> None:
    endpoint, dsp = device(), broker()
    answered(endpoint, for_later(dsp))
    restarted = device(endpoint.state)
    assert restarted.next_due == DUE
    alert = told(restarted, dsp, DUE + timedelta(days=1))
    assert alert.execution_date_time == DUE + timedelta(days=1)
    assert alert.alert_code == 0x8F66


@pytest.mark.parametrize("due", [EPOCH, EPOCH - timedelta(days=400)])
def test_a_time_that_is_not_to_come_is_now(due: datetime) -> None:
    endpoint, dsp = device(), broker()
    assert statuses(answered(endpoint, for_later(dsp, due)).outcome) == [CredentialStatus.SUCCESS]
    assert endpoint.state.postponed == ()


def test_another_one_for_later_takes_the_place_of_the_first() -> None:
    endpoint, dsp = device(), broker()
    answered(endpoint, for_later(dsp, use=AGREE))
    answered(endpoint, for_later(dsp, DUE + timedelta(hours=1)))
    assert len(endpoint.state.postponed) == 1
    assert endpoint.execute_due(DUE) == []
    told(endpoint, dsp, DUE + timedelta(hours=1))
    trust = endpoint.credentials.trust
    assert trust.acb_key_agreement == trust_cells().acb_key_agreement
    assert trust.acb_digital_signature == newer(use=SIGN).certificate


def test_the_end_of_time_takes_a_replacement_back() -> None:
    endpoint, dsp = device(), broker()
    answered(endpoint, for_later(dsp))
    assert answered(endpoint, for_later(dsp, NEVER)).outcome is None
    assert endpoint.next_due is None
    assert endpoint.execute_due(DUE) == []
    assert endpoint.credentials.trust == trust_cells()


def test_the_same_command_again_is_a_replay_before_and_after_its_time() -> None:
    endpoint, dsp = device(), broker()
    octets = for_later(dsp)
    answered(endpoint, octets)
    assert discarded(endpoint, octets) is Reason.COUNTER
    told(endpoint, dsp, DUE)
    assert discarded(endpoint, octets) is Reason.COUNTER


def test_one_bad_cell_of_two_is_told_as_not_done_with_a_status_for_each() -> None:
    endpoint, dsp = device(), broker()
    pairs = (
        (ACB_SIGNING, newer(role=Role.SUPPLIER, use=SIGN).certificate),
        (ACB_AGREEMENT, newer(use=AGREE).certificate),
    )
    octets = dsp.update_own_credentials(
        PPMID_EUI64, replaced(*pairs), path(), execution_date_time=DUE
    )
    assert answered(endpoint, octets).outcome is None
    alert = told(endpoint, dsp, DUE)
    assert alert.alert_code == 0x8F67
    assert statuses(alert.outcome) == [CredentialStatus.BAD_CERTIFICATE, CredentialStatus.SUCCESS]
    trust = endpoint.credentials.trust
    assert trust.acb_digital_signature == trust_cells().acb_digital_signature
    assert trust.acb_key_agreement == newer(use=AGREE).certificate


def test_a_certificate_that_has_ended_by_then_is_a_bad_one() -> None:
    endpoint, dsp = device(), broker()
    late = EPOCH + timedelta(days=40)
    answered(endpoint, for_later(dsp, late))
    alert = told(endpoint, dsp, late)
    assert alert.alert_code == 0x8F67
    assert statuses(alert.outcome) == [CredentialStatus.BAD_CERTIFICATE]
    assert endpoint.credentials.trust == trust_cells()


def test_recovery_is_told_itself_of_what_it_put_off() -> None:
    endpoint = device()
    pair = (ACB_SIGNING, newer(use=SIGN).certificate)
    command = UpdateCredentials(recovery_control(), replaced(pair), path(), DUE)
    assert answered(endpoint, by_recovery(command)).outcome is None
    (frame,) = endpoint.execute_due(DUE)
    assert parse_frame(frame).frame.recipient == RECOVERY_EUI64
    recovery = AccessControlBroker(RECOVERY_EUI64, dsp_keys(), BrokerState())
    assert isinstance(recovery.receive(frame), Alert)
    assert endpoint.credentials.trust.acb_digital_signature == newer(use=SIGN).certificate


def test_who_was_replaced_in_the_meantime_replaces_nobody_any_more() -> None:
    endpoint, dsp = device(), broker()
    own = (
        (ACB_SIGNING, newer(use=SIGN).certificate),
        (ACB_AGREEMENT, newer(use=AGREE).certificate),
    )
    octets = dsp.update_own_credentials(
        PPMID_EUI64, replaced(*own), path(), execution_date_time=DUE
    )
    answered(endpoint, octets)
    other = ACB_EUI64 + 8
    pairs = tuple(
        (cell, newer(eui64=other, use=use).certificate)
        for cell, use in ((ACB_SIGNING, SIGN), (ACB_AGREEMENT, AGREE))
    )
    command = UpdateCredentials(recovery_control(), replaced(*pairs), path())
    assert statuses(answered(endpoint, by_recovery(command)).outcome) == (
        [CredentialStatus.SUCCESS] * 2
    )
    alert = told(endpoint, dsp, DUE)
    assert alert.alert_code == 0x8F67
    assert statuses(alert.outcome) == [CredentialStatus.OTHER] * 2
    assert endpoint.credentials.trust.acb == other


def test_a_stranger_puts_nothing_off() -> None:
    endpoint = device()
    organisation = stranger().organisation(ACB_EUI64, Role.ACCESS_CONTROL_BROKER, AGREE)
    keys = dsp_keys()
    keys.add(organisation.certificate, organisation.private_key)
    forged = for_later(AccessControlBroker(ACB_EUI64, keys, BrokerState(1299)))
    assert discarded(endpoint, forged) is Reason.MAC
    assert endpoint.state.postponed == ()
