"""What a bench file says of the OTA sides: every option is heard, and every wrong one is named."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from bench_support import finished_run

from emulator.devices.ota_personalities import PERSONALITIES
from emulator.devices.ota_rules import OtaClientParameters
from emulator.devices.ota_server import OtaServerParameters
from hil.bench_file import load_bench
from hil.ota_options import ClientTable, HubTable, Personality, server_parameters
from hil.toml_file import BenchFileError

ONE_DEVICE = """
[[device]]
id = "ppmid"
kind = "ppmid"
image_size_bytes = 1024
"""
OWN_TABLE = ONE_DEVICE + "[device.ota]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text)
    return path


def value_of(cls: type, name: str) -> Any:
    """A value that can be, and is not the default."""
    (kind,) = [one.type for one in fields(cls) if one.name == name]
    default = getattr(cls(), name)
    special = {"block_period_unit": "discover", "version_policy": "newer", "block_period_unit_s": 1}
    if name in special:
        return special[name]
    if kind == "bool":
        return not default
    if name == "sector_bytes":
        return 512
    if name == "wait_maximum_s" or name == "countdown_maximum_s":
        return 5000.0
    return 1.5 if "float" in str(kind) else 7


def told(names: Any, cls: type) -> str:
    values = {name: value_of(cls, name) for name in names}
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def test_every_parameter_of_a_client_has_a_key_and_is_heard(tmp_path: Path) -> None:
    names = {one.name for one in fields(OtaClientParameters)}
    assert set(ClientTable.model_fields) == names - {"max_data_size"}
    text = ONE_DEVICE + "max_data_size = 7\n[device.ota]\n"
    bench = load_bench(write(tmp_path, text + told(ClientTable.model_fields, OtaClientParameters)))
    (device,) = bench.devices
    parameters = device.client_parameters()
    for name in sorted(names):
        assert getattr(parameters, name) == value_of(OtaClientParameters, name), name
        assert getattr(parameters, name) != getattr(OtaClientParameters(), name), name


def test_every_parameter_of_a_server_has_a_key_and_is_heard(tmp_path: Path) -> None:
    names = {one.name for one in fields(OtaServerParameters)}
    assert set(HubTable.model_fields) == names
    text = "[hub]\n" + told(names, OtaServerParameters) + ONE_DEVICE
    parameters = server_parameters(load_bench(write(tmp_path, text)).hub)
    for name in sorted(names):
        assert getattr(parameters, name) == value_of(OtaServerParameters, name), name
        assert getattr(parameters, name) != getattr(OtaServerParameters(), name), name


def test_a_personality_is_the_make_and_single_keys_change_it(tmp_path: Path) -> None:
    assert set(get_args(Personality)) == set(PERSONALITIES)
    for make, wanted in PERSONALITIES.items():
        text = ONE_DEVICE + f'personality = "{make}"\n'
        (device,) = load_bench(write(tmp_path, text)).devices
        assert device.client_parameters() == wanted
    text += "[device.ota]\nresume = false\nverify_s = 3\n"
    (device,) = load_bench(write(tmp_path, text)).devices
    changed = device.client_parameters()
    assert (changed.resume, changed.verify_s) == (False, 3.0)
    assert changed.max_data_size == wanted.max_data_size
    assert changed.block_timeout_s == wanted.block_timeout_s


@pytest.mark.parametrize(
    ("text", "key", "line", "says"),
    [
        (ONE_DEVICE + "personality = 'emberr'", "device[0].personality", 6, '"ember" or "ember-p'),
        (OWN_TABLE + "resume = 1", "device[0].ota.resume", 7, "is 1, but it must be true or false"),
        (OWN_TABLE + "block_timeout_s = 0", "device[0].ota.block_timeout_s", 7, "from 0.1 to 3600"),
        (OWN_TABLE + "verify_s = inf", "device[0].ota.verify_s", 7, "a number of seconds from 0"),
        (OWN_TABLE + "verify_s = '1'", "device[0].ota.verify_s", 7, "a number of seconds from 0"),
        (OWN_TABLE + "max_errors = 0", "device[0].ota.max_errors", 7, "a whole number from 1 to"),
        (OWN_TABLE + "max_errors = true", "device[0].ota.max_errors", 7, "a whole number from 1"),
        (OWN_TABLE + "block_period_unit_s = 2", "device[0].ota.block_period_unit_s", 7, "or 1 for"),
        (OWN_TABLE + "sector_bytes = 0", "device[0].ota.sector_bytes", 7, "from 256 to 1048576"),
        (OWN_TABLE + "resumes = true", "device[0].ota.resumes", 7, "perhaps resume is meant"),
        (OWN_TABLE + "max_data_size = 9", "device[0].ota.max_data_size", 7, "is not a key here"),
        (
            OWN_TABLE + "pace_minimum_s = 5",
            "device[0].ota.pace_minimum_s",
            7,
            "pace_minimum_s is 5, which is more than pace_maximum_s, 0",
        ),
        (
            ONE_DEVICE + "personality = 'nxp-production'\n[device.ota]\npace_maximum_s = 5",
            "device[0].ota.pace_maximum_s",
            8,
            "pace_minimum_s is 10, which is more than pace_maximum_s, 5",
        ),
        (
            OWN_TABLE + "requires_signature = true",
            "device[0].ota.requires_signature",
            7,
            "needs strict_elements = true",
        ),
        (ONE_DEVICE + "ota = 3", "device[0].ota", 6, "a table, [device.ota]"),
        ("[hub]\nversion_policy = 'any'" + ONE_DEVICE, "hub.version_policy", 2, '"newer", "diff'),
        ("[hub]\nblock_period_unit = 'us'" + ONE_DEVICE, "hub.block_period_unit", 2, '"discover"'),
        ("[hub]\nnotify_jitter = 101" + ONE_DEVICE, "hub.notify_jitter", 2, "from 1 to 100"),
        ("[hub]\nmax_data_size = 0" + ONE_DEVICE, "hub.max_data_size", 2, "octets from 1 to 255"),
        ("[hub]\ndiscard_after_s = 0" + ONE_DEVICE, "hub.discard_after_s", 2, "seconds from 1 to"),
        ("[hub]\nserve_pages = 'yes'" + ONE_DEVICE, "hub.serve_pages", 2, "true or false"),
        ("[hub]\nupgrade_time_s = -1" + ONE_DEVICE, "hub.upgrade_time_s", 2, "to 4294967295"),
        ("[hub]\nnotify_atempts = 1" + ONE_DEVICE, "hub.notify_atempts", 2, "notify_attempts is"),
        ("[hub]\nrelease_after_s = 5" + ONE_DEVICE, "hub.release_after_s", 2, "which is not there"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_its_line_and_what_would_be_right(
    tmp_path: Path, text: str, key: str, line: int, says: str
) -> None:
    with pytest.raises(BenchFileError) as caught:
        load_bench(write(tmp_path, text))
    assert (caught.value.key, caught.value.line, caught.value.exit_code) == (key, line, 2)
    assert says in str(caught.value)


# -- whole runs ----------------------------------------------------------------------------


def outcome(text: str) -> dict[str, Any]:
    (device,) = finished_run(text).document["devices"]
    assert isinstance(device, dict)
    return device


def own(make: str, *lines: str) -> str:
    return ONE_DEVICE + f'personality = "{make}"\n' + "".join(f"{line}\n" for line in lines)


RUNS = {
    "ti with a period to be found out": (
        '[hub]\nminimum_block_period_ms = 200\nblock_period_unit = "discover"\n' + own("ti")
    ),
    "pages served, a device that waits for the word": (
        "[hub]\nserve_pages = true\nupgrade_time_s = 4294967295\nrelease_after_s = 30\n"
        + own("ember-pages")
    ),
    "slow flash, a hub with little room": (
        "[hub]\nmax_data_size = 20\n"
        + own("nxp-production", "[device.ota]", "erase_s = 2", "sector_bytes = 256")
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_options_of_its_own_ends_activated(name: str) -> None:
    assert outcome(RUNS[name])["outcome"] == "activated"


@pytest.mark.matrix
@pytest.mark.parametrize("make", PERSONALITIES)
@pytest.mark.parametrize(
    "hub",
    [
        "",
        "serve_pages = true",
        'minimum_block_period_ms = 500\nblock_period_unit = "discover"',
        "max_data_size = 17\nupgrade_time_s = 40",
        "max_transfers = 1\nbusy_wait_s = 5",
        "upgrade_time_s = 4294967295\nrelease_after_s = 100",
    ],
)
def test_every_make_updates_against_every_kind_of_hub(make: str, hub: str) -> None:
    second = own(make).replace('id = "ppmid"', 'id = "second"')
    document = finished_run(f"[hub]\n{hub}\n" + own(make) + second, "--fault", "loss 5 %").document
    second_ends = "activated"
    if "max_transfers" in hub and not PERSONALITIES[make].honours_wait:
        second_ends = "transfer-failed"  # it takes being told to wait for errors, and gives up
    assert [one["outcome"] for one in document["devices"]] == ["activated", second_ends]


def test_options_are_seen_on_the_run_and_not_only_in_the_file() -> None:
    blocks = {
        size: outcome(ONE_DEVICE + f"max_data_size = {size}\n")["blocks"] for size in (56, 32)
    }
    assert blocks == {56: -(-1024 // 56), 32: 1024 // 32}
    paced = finished_run(RUNS["slow flash, a hub with little room"]).document
    assert outcome(RUNS["slow flash, a hub with little room"])["blocks"] == -(-1024 // 20)
    assert paced["virtual_s"] > 1024 / 20 * 10  # ten seconds at least before each block


def test_a_hub_whose_policy_has_no_such_version_fails_the_transfer() -> None:
    refused = outcome('[hub]\nversion_policy = "older"\n' + ONE_DEVICE)
    assert refused["outcome"] == "transfer-failed"
    assert refused["version_after"] == refused["version_before"]


def test_a_device_left_to_wait_for_a_word_that_never_comes_does_not_activate() -> None:
    left = outcome("[hub]\nupgrade_time_s = 4294967295\n" + ONE_DEVICE)
    assert left["outcome"] == "transferred-unconfirmed"
    assert left["version_after"] is None
