"""`dsp.toml`: what it may say, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dsp_stub.options import (
    Codes,
    DspFile,
    Options,
    RoleName,
    contradictions,
    is_loopback_url,
)
from firmware_images.checks import SizeLimit
from hil.toml_file import BenchFileError, load_toml

WHOLE = """\
[[user]]
eui64 = "90-B3-D5-1F-30-01-00-00"
role = "IS"
callback = "http://127.0.0.1:8081/alerts"

[[user]]
eui64 = "90b3d51f30030000"
role = "OU"
certificate = "certificates/third.pem"
suspended = true

[codes]
replay = "E65"
schema = "E1000"
ppmid_alert = "N999"

[options]
profile = "duis-5.4"
commissioned = "strict"
bridge_as_other_device = "literal"
image_limit_kb = 1
unit = "kb"
scope = "body"
cpl_hash = "whole-file"
in_progress_timeout_s = 60
response_timeout_s = 5
anomaly_threshold = 1000
anomaly_window_s = 3600
service_level_s = 7200
least_gbcs_version = "4.3"
xsd = "DUIS Schema V5.4.xsd"
check_certificate_times = false
"""


def load(folder: Path, text: str) -> DspFile:
    path = folder / "dsp.toml"
    path.write_text(text)
    return load_toml(path, DspFile, contradictions)


def test_a_file_that_says_everything_is_read_as_it_says(tmp_path: Path) -> None:
    file = load(tmp_path, WHOLE)
    first, second = file.users
    assert (first.eui64, first.role) == (0x90B3D51F30010000, "IS")
    assert first.callback == "http://127.0.0.1:8081/alerts"
    assert first.certificate_file == Path("pki/90b3d51f30010000-xml-ds.pem")
    assert (second.eui64, second.role, second.callback) == (0x90B3D51F30030000, "OU", None)
    assert [first.suspended, second.suspended] == [False, True]
    assert second.certificate_file == Path("certificates/third.pem")
    assert file.codes == Codes(replay="E65", schema="E1000", ppmid_alert="N999")
    options = file.options
    assert options.size_limit() == SizeLimit(1, "kb", "body")
    assert options.xsd == tmp_path / "DUIS Schema V5.4.xsd"
    assert options.model_dump(exclude={"xsd", "image_limit_kb", "unit", "scope"}) == {
        "profile": "duis-5.4",
        "commissioned": "strict",
        "bridge_as_other_device": "literal",
        "cpl_hash": "whole-file",
        "in_progress_timeout_s": 60,
        "response_timeout_s": 5,
        "anomaly_threshold": 1000,
        "anomaly_window_s": 3600,
        "service_level_s": 7200,
        "least_gbcs_version": "4.3",
        "s1sp": "succeeds",
        "assurance": "optional",
        "check_certificate_times": False,
    }


def test_an_empty_file_is_every_default(tmp_path: Path) -> None:
    file = load(tmp_path, "")
    assert file == DspFile()
    assert file.users == ()
    assert file.options.size_limit() == SizeLimit()
    assert file.options.model_dump() == {
        "profile": "mp170",
        "commissioned": "relaxed",
        "bridge_as_other_device": "intent",
        "image_limit_kb": 750,
        "unit": "kib",
        "scope": "file",
        "cpl_hash": "manufacturer-image",
        "in_progress_timeout_s": 604_800,
        "response_timeout_s": 1800,
        "anomaly_threshold": 0,
        "anomaly_window_s": 86_400,
        "service_level_s": 86_400,
        "least_gbcs_version": "4.1",
        "s1sp": "succeeds",
        "assurance": "optional",
        "xsd": None,
        "check_certificate_times": True,
    }
    assert file.codes.model_dump(by_alias=True) == {
        "bad_signature": "E40",
        "replay": "E42",
        "pre_command": "E48",
        "pre_command_signature": "E49",
        "doctype": "E100",
        "schema": "E100",
        "ppmid_alert": "N39",
        "firmware_delivered": "N60",
        "firmware_not_delivered": "N61",
        "comms_hub_alert": "N62",
        "firmware_upgrade_requested": "N59",
        "firmware_distribution_failure": "N22",
        "firmware_version_mismatch": "N49",
        "quarantined_request": "N3",
        "device_log_updated": "N24",
        "device_log_not_updated": "N25",
        "device_log_restored": "N26",
        "ppmid_removal": "N43",
        "security_credentials_updated": "N42",
        "mpxn_updated": "N16",
        "future_dated_cancelled": "N36",
        "schedule_removed": "N37",
    }


@pytest.mark.parametrize("role", get_args(RoleName))
def test_every_role_of_duis_is_one(tmp_path: Path, role: str) -> None:
    file = load(tmp_path, f'[[user]]\neui64 = "{1:016X}"\nrole = "{role}"\n')
    assert file.users[0].role == role


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("port = 1\n", 1, "port is not a key"),
        ('[options]\nprofil = "mp170"\n', 2, "options.profil is not a key"),
        ('[options]\n\nprofil = "mp170"\n', 3, "perhaps profile is meant"),
        ('[codes]\nreply = "E42"\n', 2, "codes.reply is not a key"),
        ('[codes]\nschema_ = "E1"\n', 2, "codes.schema_ is not a key"),
        ('[codes]\nreplay = "I0"\n', 2, "codes.replay is 'I0', but it must be a response code"),
        ("[codes]\nreplay = 42\n", 2, "codes.replay is 42, but it must be a response code"),
        ('[codes]\nppmid_alert = "N32"\n', 2, "codes.ppmid_alert is 'N32', but it must be a DCC"),
        ('[codes]\nppmid_alert = "N66"\n', 2, "but it must be a DCC alert code"),
        ('[codes]\nppmid_alert = "N0"\n', 2, "but it must be a DCC alert code"),
        ('[codes]\nppmid_alert = "XN39"\n', 2, "but it must be a DCC alert code"),
        ('[[user]]\nrole = "IS"\n', 1, "user[0].eui64 is missing: it must be an EUI-64"),
        ('[[user]]\neui64 = "90B3"\nrole = "IS"\n', 2, "user[0].eui64 is '90B3', but it must be"),
        ('[[user]]\neui64 = 1\nrole = "IS"\n', 2, "user[0].eui64 is 1, but it must be an EUI-64"),
        (f'[[user]]\neui64 = "{1:016X}"\nrole = "DCC"\n', 3, "user[0].role is 'DCC', but it must"),
        (
            f'[[user]]\neui64 = "{1:016X}"\nrole = "IS"\n'
            f'[[user]]\neui64 = "00-00-00-00-00-00-00-01"\nrole = "GS"\n',
            5,
            "user[1].eui64 is 0000000000000001, which is a user already",
        ),
        (
            f'[[user]]\neui64 = "{1:016X}"\nrole = "IS"\ncallback = "http://192.0.2.1/"\n',
            4,
            "user[0].callback is 'http://192.0.2.1/', but it must be an http URL of this machine",
        ),
        (
            f'[[user]]\neui64 = "{1:016X}"\nrole = "IS"\ncertificate = "../other.pem"\n',
            4,
            "but it must be the name of a PEM file in the folder",
        ),
        (
            f'[[user]]\neui64 = "{1:016X}"\nrole = "IS"\ncertificate = "/etc/other.pem"\n',
            4,
            "but it must be the name of a PEM file in the folder",
        ),
        ("[options]\nimage_limit_kb = 0\n", 2, "options.image_limit_kb is 0, but it must be"),
        ("[options]\nimage_limit_kb = 10000\n", 2, "a whole number from 1 to 9999"),
        ("[options]\nimage_limit_kb = 750.0\n", 2, "options.image_limit_kb is 750.0, but it must"),
        ("[options]\nimage_limit_kb = true\n", 2, "options.image_limit_kb is true, but it must"),
        ('[options]\nunit = "mb"\n', 2, "options.unit is 'mb', but it must be \"kib\" (1024)"),
        ('[options]\ncpl_hash = "image"\n', 2, 'it must be "manufacturer-image" or "whole-file"'),
        ("[options]\nresponse_timeout_s = -1\n", 2, "a whole number of seconds from 1 to"),
        ('[options]\nleast_gbcs_version = "4"\n', 2, 'it must be a version such as "4.1"'),
        ("[options]\nleast_gbcs_version = 4.1\n", 2, 'it must be a version such as "4.1"'),
        ("[options]\ncheck_certificate_times = 1\n", 2, "it must be true or false"),
        ('[options]\nxsd = ""\n', 2, "it must be the path of an XSD"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(BenchFileError) as caught:
        load(tmp_path, text)
    assert caught.value.line == line
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'dsp.toml'}, line {line}: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8081/",
        "http://127.9.9.9/a/b?c=d",
        "http://localhost:1",
        "http://LOCALHOST/",
        "http://[::1]:8081/",
    ],
)
def test_a_url_of_this_machine_may_be_called_back(url: str) -> None:
    assert is_loopback_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8081",
        "https://127.0.0.1/",
        "ftp://127.0.0.1/",
        "http://",
        "http:///path",
        "http://192.0.2.1/",
        "http://0.0.0.0/",
        "http://example.com/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://127.1/",
        "http://[::1/",
        "http://127.0.0.1/ HTTP/1.1",
        "http://127.0.0.1/\r\nHost: a",
        "http://１２７.0.0.1/",
        "http://example.com\\@127.0.0.1/",
    ],
)
def test_a_url_of_another_machine_is_not_called_back(url: str) -> None:
    assert not is_loopback_url(url)


@given(st.text(max_size=40) | st.from_regex(r"http://[^\n]{0,30}"))
def test_any_text_is_a_url_of_this_machine_or_not(text: str) -> None:
    assert is_loopback_url(text) in (True, False)


def test_options_do_not_change_once_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Options().unit = "kb"
