"""Who may be joined with whom, and what a join does to the inventory."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from command_rig import (
    CAD,
    ESME,
    GPF,
    GSME,
    HCALCS,
    HUB,
    IHD,
    OF_TYPE,
    OTHER_GPF,
    PPMID,
    Bench,
    answer,
    endpoint,
    meter,
    payload_of,
)
from dsp_rig import (
    BRIDGE,
    NEW,
    OLD,
    OTHER_SUPPLIER_EUI64,
    OTHER_USER_EUI64,
    STRANGER,
    cpl_entry,
    device_keys,
    made_image,
    running,
)
from test_meter_firmware import furnished as with_meter_firmware
from test_meter_firmware import update as meter_firmware_for

from dsp_stub.bridge_services import SERVICES, is_bridge, srv_for_bridge
from dsp_stub.inventory_requests import NewDeviceStatus
from dsp_stub.options import Options
from dsp_stub.requests import (
    ActivateFirmware,
    Body,
    DecommissionDevice,
    DevicePrenotification,
    IssueSecurityCredentials,
    JoinServiceCritical,
    JoinServiceNonCritical,
    ReadDeviceLog,
    ReadFirmwareVersion,
    ReadInventory,
    RestoreHanDeviceLog,
    RetrieveDeviceSecurityCredentialsDevice,
    RetrieveDeviceSecurityCredentialsKrp,
    UnjoinServiceCritical,
    UnjoinServiceNonCritical,
    UpdateHanDeviceLog,
    UpdateInventory,
    UpdatePpmidFirmware,
    UpdateSecurityCredentialsDevice,
    UpdateSecurityCredentialsKrp,
)
from dsp_stub.smi import DeviceStatus, DeviceType, PpmidVariant
from dsp_stub.users import UserRole
from gbcs.envelope import parse_frame
from gbcs.joining import (
    JOIN_DEVICE,
    UNJOIN_DEVICE,
    DeviceJoined,
    DeviceUnjoined,
    JoinDevice,
    JoinMethod,
    JoinResult,
    UnjoinDevice,
    UnjoinResult,
)
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64
from gbcs.use_cases import answering, join_device, refuse_join, unjoin_device
from gbcs.wan import DeviceType as WanType

T = DeviceType
BODIES: dict[str, Any] = {
    "8.7.1": JoinServiceCritical,
    "8.7.2": JoinServiceNonCritical,
    "8.8.1": UnjoinServiceCritical,
    "8.8.2": UnjoinServiceNonCritical,
}
WRONG_TYPE = {"8.7.1": "E080702", "8.7.2": "E080721", "8.8.1": "E080801", "8.8.2": "E080821"}
VARIANT = {"8.7.1": 4, "8.7.2": 2, "8.8.1": 4, "8.8.2": 2}

# MP170, annex B, 3.8.109 and 3.8.110: "GBCS Cross Reference". To join, to part.
CRITICAL = {
    (T.ESME, T.HCALCS): (0x000D, 0x000F),
    (T.ESME, T.PPMID): (0x000D, 0x000F),
    (T.HCALCS, T.ESME): (0x00AB, 0x000F),
    (T.GSME, T.PPMID): (0x00AF, 0x000F),
}
NON_CRITICAL = {
    (T.ESME, T.IHD): (0x000E, 0x0010),
    (T.ESME, T.CAD): (0x000E, 0x0010),
    (T.GSME, T.GPF): (0x000E, 0x0010),
    (T.GPF, T.GSME): (0x000E, 0x0010),
    (T.GPF, T.PPMID): (0x000E, 0x0010),
    (T.GPF, T.IHD): (0x000E, 0x0010),
    (T.GPF, T.CAD): (0x000E, 0x0010),
    (T.PPMID, T.ESME): (0x00AB, 0x000F),
    (T.PPMID, T.GSME): (0x00AF, 0x000F),
}
TARGETS = {
    "8.7.1": {T.ESME, T.GSME, T.HCALCS},
    "8.8.1": {T.ESME, T.GSME, T.HCALCS},
    "8.7.2": {T.ESME, T.GSME, T.GPF, T.PPMID},
    "8.8.2": {T.ESME, T.GSME, T.GPF, T.PPMID},
}


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.requirement("MP170-JOIN", "good", "bad")
@pytest.mark.parametrize("service", sorted(BODIES))
def test_every_pair_of_types_is_joined_or_refused_as_the_text_has_it(
    bench: Bench, service: str
) -> None:
    pairs = CRITICAL if service in ("8.7.1", "8.8.1") else NON_CRITICAL
    is_join = service.startswith("8.7")
    for target, other in product(T, T):
        body = BODIES[service](OF_TYPE[other])
        response = bench.ask(body, OF_TYPE[target], VARIANT[service])
        if target not in TARGETS[service]:
            assert response.response_code == "E11", (target, other)
        elif (target, other) not in pairs:
            assert response.response_code == WRONG_TYPE[service], (target, other)
        else:
            assert response.response_code == "I0", (target, other)
            frame = parse_frame(payload_of(response)).frame
            assert frame.message_code == pairs[target, other][0 if is_join else 1]
            if not is_join:
                assert UNJOIN_DEVICE.parse(frame.payload) == UnjoinDevice(OF_TYPE[other])


def test_a_join_says_method_type_and_for_method_c_the_certificate_in_use(bench: Bench) -> None:
    agreement = {eui64: device_keys(eui64)[1][1].der for eui64 in (PPMID, GSME)}
    for body, target, expected in (
        (JoinServiceCritical(HCALCS), ESME, JoinDevice(JoinMethod.A_INITIATOR, HCALCS, WanType(4))),
        (JoinServiceCritical(ESME), HCALCS, JoinDevice(JoinMethod.A_RESPONDER, ESME, WanType(1))),
        (
            JoinServiceCritical(PPMID),
            GSME,
            JoinDevice(JoinMethod.C, PPMID, WanType(5), agreement[PPMID]),
        ),
        (JoinServiceNonCritical(CAD), GPF, JoinDevice(JoinMethod.B, CAD, WanType.TYPE_2)),
        (
            JoinServiceNonCritical(GSME),
            PPMID,
            JoinDevice(JoinMethod.C, GSME, WanType(0), agreement[GSME]),
        ),
    ):
        variant = 4 if isinstance(body, JoinServiceCritical) else 2
        frame = parse_frame(payload_of(bench.ask(body, target, variant))).frame
        assert JOIN_DEVICE.parse(frame.payload) == expected


@pytest.mark.parametrize("service", sorted(BODIES))
def test_the_other_device_is_one_of_the_same_han(bench: Bench, service: str) -> None:
    target = GPF if service.endswith("2") else ESME
    assert bench.code(BODIES[service](STRANGER), target, VARIANT[service]) == "E19"
    other = HCALCS if service.endswith("1") else IHD
    bench.store.connection.execute(
        "UPDATE devices SET chf = ? WHERE device_id = ?", (f"{OTHER_GPF:016X}", f"{other:016X}")
    )
    assert bench.code(BODIES[service](other), target, VARIANT[service]) == WRONG_TYPE[service]


# -- who ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "code"), [("8.7.2", "E080722"), ("8.8.2", "E080822")])
def test_an_other_user_joins_and_parts_cads_alone(service: str, code: str) -> None:
    bench = Bench(
        roles={OTHER_USER_EUI64: UserRole.OTHER_USER},
        responsible=(OTHER_USER_EUI64, SUPPLIER_EUI64),
    )
    how = {"user": OTHER_USER_EUI64}
    assert bench.code(BODIES[service](CAD), ESME, 1, **how) == "I99"
    assert bench.code(BODIES[service](CAD), GPF, 1, **how) == "I99"
    for target, other in ((ESME, IHD), (GPF, PPMID), (PPMID, ESME), (GSME, GPF)):
        assert bench.code(BODIES[service](other), target, 1, **how) == code
        assert bench.code(BODIES[service](other), target, 1) == "I99"


@pytest.mark.parametrize(("service", "code"), [("8.7.2", "E080723"), ("8.8.2", "E4")])
def test_gpf_and_gsme_are_joined_by_who_is_responsible_for_any_device_of_the_hub(
    bench: Bench, service: str, code: str
) -> None:
    how = {"user": OTHER_SUPPLIER_EUI64}
    for target, other in ((GPF, GSME), (GSME, GPF)):
        assert bench.code(BODIES[service](other), target, 1, **how) == code
    assert bench.code(BODIES[service](IHD), ESME, 1, **how) == "E4"
    bench.store.connection.execute(
        "UPDATE devices SET premises = NULL, prenotified_by = ? WHERE device_id = ?",
        (f"{OTHER_SUPPLIER_EUI64:016X}", f"{CAD:016X}"),
    )
    for target, other in ((GPF, GSME), (GSME, GPF)):
        assert bench.code(BODIES[service](other), target, 1, **how) == "I99"


# -- bridges -----------------------------------------------------------------------------------

ALLOWED = None
# Every cell of the table in `dsp_stub.bridge_services`, written down again.
CELLS: dict[str, tuple[str | None, str | None]] = {
    "6.15.1": ("E11", ALLOWED),
    "6.15.2": ("E11", ALLOWED),
    "6.17": ("E11", ALLOWED),
    "6.24.1": (ALLOWED, ALLOWED),
    "6.24.2": ("E11", ALLOWED),
    "8.2": (ALLOWED, ALLOWED),
    "8.3": (ALLOWED, ALLOWED),
    "8.4": (ALLOWED, ALLOWED),
    "8.7.1": ("E11", "E080702"),
    "8.7.2": ("E080721", "E080721"),
    "8.8.1": ("E11", "E080801"),
    "8.8.2": ("E080821", "E080821"),
    "8.9": (ALLOWED, ALLOWED),
    "8.11": (ALLOWED, ALLOWED),
    "8.12.1": (ALLOWED, ALLOWED),
    "11.1": ("E11", "E11"),
    "11.2": (ALLOWED, ALLOWED),
    "11.3": ("E11", ALLOWED),
    "11.4": (ALLOWED, ALLOWED),
    "12.2": (ALLOWED, ALLOWED),
}


@pytest.mark.requirement("MP170-JOIN", "good", "bad")
def test_every_cell_of_the_table_of_services_for_bridges() -> None:
    assert set(SERVICES) == set(CELLS)
    for service, (target, other) in CELLS.items():
        assert srv_for_bridge(service) == target
        assert srv_for_bridge(service, as_other=True) == other
        literal = ALLOWED if service == "8.7.2" else other
        assert srv_for_bridge(service, as_other=True, reading="literal") == literal
    assert srv_for_bridge("1.1.1") == "E11"


ON_A_BRIDGE: dict[str, tuple[Body, int]] = {
    "6.15.1": (
        UpdateSecurityCredentialsKrp("Supplier", b"0\0", b"0\0", certification_path=(b"0\0",)),
        4,
    ),
    "6.15.2": (UpdateSecurityCredentialsDevice(b"0\0"), 4),
    "6.17": (IssueSecurityCredentials("Digital Signature"), 4),
    "6.24.1": (RetrieveDeviceSecurityCredentialsKrp(("ACB",)), 1),
    "6.24.2": (RetrieveDeviceSecurityCredentialsDevice("Key Agreement"), 4),
    "8.7.1": (JoinServiceCritical(ESME), 4),
    "8.7.2": (JoinServiceNonCritical(ESME), 1),
    "8.8.1": (UnjoinServiceCritical(ESME), 4),
    "8.8.2": (UnjoinServiceNonCritical(ESME), 1),
    "8.9": (ReadDeviceLog(), 1),
    "11.2": (ReadFirmwareVersion(), 1),
    "11.3": (ActivateFirmware(bytes(32)), 4),
}
AT_THE_HUB: dict[str, tuple[Body, int, int]] = {
    "8.2": (ReadInventory(device_id=BRIDGE), 0x90B3D51F30000002, 8),
    "8.11": (UpdateHanDeviceLog(BRIDGE, "Remove"), HUB, 1),
    "8.12.1": (RestoreHanDeviceLog(HUB), 0x00DB1234567891A2, 1),
}


@pytest.mark.requirement("MP170-JOIN", "good", "bad")
@pytest.mark.parametrize("variant", [one for one in PpmidVariant if one != "PPMID"])
def test_a_service_for_a_bridge_is_answered_as_the_table_says(variant: PpmidVariant) -> None:
    """The first column, all of it; the second is that of joins, in the tests that follow."""
    bench = with_meter_firmware(Bench())
    set_variant(bench, variant)
    for service, (body, command_variant) in ON_A_BRIDGE.items():
        code = bench.code(body, BRIDGE, command_variant)
        assert code == (CELLS[service][0] or "I99"), service
        assert bench.is_quiet() is (CELLS[service][0] is not None)
    for service, (body, target, command_variant) in AT_THE_HUB.items():
        code = bench.code(body, target, command_variant)
        # A hub that never told its log cannot be replaced, whoever is in it.
        assert code == {"8.2": "I0", "8.11": "I99", "8.12.1": "E081204"}[service]
        bench.is_quiet()
    image = made_image("bridge-1")
    bench.desk.cpl.add(cpl_entry("bridge-1", NEW, image))
    anew = DevicePrenotification(
        BRIDGE, "A17A", bench.device(BRIDGE).model, "PPMID",
        smets_chts_version="PPMIDTS V4.4", firmware_version=f"{OLD:08X}", ppmid_variant=variant,
    )  # fmt: skip
    of_the_dcc: dict[str, Body] = {
        "11.1": meter_firmware_for(BRIDGE),
        "11.4": UpdatePpmidFirmware(image.data, f"{NEW:08X}", (BRIDGE,)),
        "8.4": UpdateInventory(BRIDGE, NewDeviceStatus("Pending")),
        "8.3": DecommissionDevice(BRIDGE),
        "12.2": anew,
    }
    for service, body in of_the_dcc.items():
        code = bench.code(body, ACB_EUI64, 8)
        assert code == (CELLS[service][0] or "I99"), service
    assert {*ON_A_BRIDGE, *AT_THE_HUB, *of_the_dcc} == set(SERVICES), "no cell is left out"


def set_variant(bench: Bench, variant: PpmidVariant | None) -> None:
    bench.store.connection.execute(
        "UPDATE devices SET ppmid_variant = ? WHERE device_id = ?", (variant, f"{BRIDGE:016X}")
    )


@pytest.mark.requirement("MP170-JOIN", "good", "bad")
@pytest.mark.parametrize("variant", [*PpmidVariant, None])
def test_a_bridge_as_other_device_is_refused_and_a_ppmid_is_not(
    variant: PpmidVariant | None,
) -> None:
    bench = Bench()
    set_variant(bench, variant)
    is_one = variant not in (None, PpmidVariant.PPMID)
    assert is_bridge(bench.device(BRIDGE)) is is_one
    for service, target in (
        ("8.7.1", ESME),
        ("8.7.1", GSME),
        ("8.7.2", GPF),
        ("8.8.1", ESME),
        ("8.8.1", GSME),
        ("8.8.2", GPF),
    ):
        code = bench.code(BODIES[service](BRIDGE), target, VARIANT[service])
        assert code == (CELLS[service][1] if is_one else "I0"), (service, target)
    # An ESME is not joined with a PPMID without a signature, a bridge or not.
    assert bench.code(JoinServiceNonCritical(BRIDGE), ESME, 1) == "E080721"


@pytest.mark.requirement("MP170-JOIN", "good")
def test_read_literally_the_text_of_8_7_2_lets_a_bridge_be_the_other_device() -> None:
    bench = Bench(Options(bridge_as_other_device="literal"))
    assert bench.code(JoinServiceNonCritical(BRIDGE), GPF, 1) == "I99"
    assert bench.code(JoinServiceNonCritical(ESME), BRIDGE, 1) == "E080721"
    assert bench.code(UnjoinServiceNonCritical(BRIDGE), GPF, 1) == "E080821"
    assert bench.code(JoinServiceCritical(BRIDGE), ESME, 4) == "E080702"
    assert bench.code(UnjoinServiceCritical(BRIDGE), ESME, 4) == "E080801"


def test_the_variant_is_looked_at_after_existence_and_role_and_before_the_type(
    bench: Bench,
) -> None:
    how = {"user": OTHER_SUPPLIER_EUI64}
    assert bench.code(JoinServiceNonCritical(STRANGER), BRIDGE, 1, **how) == "E4"
    assert bench.code(JoinServiceNonCritical(STRANGER), BRIDGE, 1) == "E080721"
    assert bench.code(JoinServiceCritical(BRIDGE), HCALCS, 4) == "E080702"


@pytest.mark.requirement("MP170-JOIN", "good")
def test_a_bridge_that_is_asked_all_the_same_answers_that_it_joins_nobody(bench: Bench) -> None:
    set_variant(bench, None)  # from before the variant existed
    bridge = endpoint(BRIDGE, join_device(0x00AB, refuse_join))
    assert bench.code(JoinServiceNonCritical(ESME), BRIDGE, 1) == "I99"
    bench.receive(BRIDGE, answer(bridge, bench.command().frame))
    frame = parse_frame(payload_of(bench.response())).frame
    assert frame.payload == b"\x02\x01\x02"
    assert bench.status(BRIDGE) is DeviceStatus.WHITELISTED


# -- what a join does --------------------------------------------------------------------------


def joined(result: JoinResult = JoinResult.SUCCESS, code: int = 0x000D) -> Any:
    return answering(code, lambda _: DeviceJoined(result))


@pytest.mark.requirement("MP170-STATUS", "good")
def test_a_ppmid_joined_to_a_commissioned_meter_is_commissioned(bench: Bench) -> None:
    command = bench.critical(JoinServiceCritical(PPMID), ESME)
    bench.receive(ESME, answer(meter(ESME, joined()), command.frame))
    assert bench.response().response_code == "I0"
    assert bench.status(PPMID) is DeviceStatus.COMMISSIONED
    assert bench.device(PPMID).date_commissioned == "2026-01-01"
    assert bench.status(BRIDGE) is DeviceStatus.WHITELISTED


def test_an_hcalcs_is_commissioned_from_either_side(bench: Bench) -> None:
    command = bench.critical(JoinServiceCritical(ESME), HCALCS)
    bench.receive(HCALCS, answer(meter(HCALCS, joined(code=0x00AB)), command.frame))
    assert bench.status(HCALCS) is DeviceStatus.COMMISSIONED


@pytest.mark.parametrize(
    ("result", "uncommissioned"),
    [
        (JoinResult.DEVICE_LOG_FULL, None),
        (JoinResult.SUCCESS, ESME),
        (JoinResult.SUCCESS, HUB),
    ],
)
def test_a_join_that_failed_or_of_a_meter_that_is_not_commissioned_changes_nothing(
    bench: Bench, result: JoinResult, uncommissioned: int | None
) -> None:
    if uncommissioned is not None:
        bench.store.connection.execute(
            "UPDATE devices SET status = 'InstalledNotCommissioned' WHERE device_id = ?",
            (f"{uncommissioned:016X}",),
        )
    command = bench.critical(JoinServiceCritical(PPMID), ESME)
    bench.receive(ESME, answer(meter(ESME, joined(result)), command.frame))
    assert bench.response().response_code == "I0"
    assert bench.status(PPMID) is DeviceStatus.WHITELISTED


def test_a_forged_answer_joins_nobody(bench: Bench) -> None:
    command = bench.critical(JoinServiceCritical(PPMID), ESME)
    frame = bytearray(answer(meter(ESME, joined(JoinResult.WRITE_FAILURE)), command.frame))
    frame[frame.index(b"\x02\x01\x05\x40") + 2] = 0
    bench.receive(ESME, bytes(frame))
    assert bench.reasons() == ["PROTECTION"]
    assert bench.status(PPMID) is DeviceStatus.WHITELISTED
    assert not bench.told()


def test_an_unjoin_is_answered_and_changes_no_status(bench: Bench) -> None:
    ppmid = endpoint(PPMID, unjoin_device(0x000F, lambda _: UnjoinResult.SUCCESS))
    assert bench.code(UnjoinServiceNonCritical(ESME), PPMID, 1) == "I99"
    bench.receive(PPMID, answer(ppmid, bench.command().frame))
    frame = parse_frame(payload_of(bench.response())).frame
    assert frame.payload == b"\x02\x01\x00"
    assert DeviceUnjoined(UnjoinResult.SUCCESS)
    assert bench.status(PPMID) is DeviceStatus.WHITELISTED


@pytest.mark.real_clock
@pytest.mark.requirement("MP170-JOIN", "bad")
async def test_over_http_a_bridge_is_refused_by_each_join_and_unjoin(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.desk.inventory.add(_esme())
        for body, target, variant, code in (
            (JoinServiceNonCritical(ESME), BRIDGE, 1, "E080721"),
            (UnjoinServiceNonCritical(ESME), BRIDGE, 1, "E080821"),
            (JoinServiceCritical(BRIDGE), ESME, 4, "E080702"),
            (UnjoinServiceCritical(BRIDGE), ESME, 4, "E080801"),
        ):
            service = next(name for name, kind in BODIES.items() if isinstance(body, kind))
            path = "/api/v1/serviceT" if variant == 4 else "/api/v1/serviceS"
            octets = rig.request(service, body, target=target, variant=variant)
            assert (await rig.post(octets, path)).response_code == code
        assert not any(end.messages for end in rig.wan.values())


def _esme() -> Any:
    return Bench().device(ESME)
