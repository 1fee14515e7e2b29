"""`hanbench device`: what is asked of it, and what it refuses; the rest is in
`test_update_across_processes`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from emulator.zigbee.security import install_code_crc, install_code_key
from hil.cli import cli
from hil.errors import HanbenchError, RequestError
from hil.standalone import identities
from hil.state_folder import StateFolder

INSTALL_CODE = "83FED3407A939723A5C639B26916D505"
NOBODY = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "pki"
    assert CliRunner().invoke(cli, ["pki", "create", str(folder)]).exit_code == 0
    return folder


def device(pki: Path, *words: object, **changes: object) -> str:
    """How a call ends, which must be at once and in one sentence."""
    options = {"radio": NOBODY, "install-code": INSTALL_CODE, "keys": pki} | changes
    given = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    told = CliRunner().invoke(cli, ["device", *given, *map(str, words)])
    if isinstance(told.exception, HanbenchError):
        assert told.exit_code
        return f"{type(told.exception).__name__}: {told.exception}"
    assert isinstance(told.exception, SystemExit), told.exception
    return f"{told.exception.code}: {told.output.splitlines()[-1]}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"install-code": "83FE"}, "an install code has 6, 8, 12 or 16 octets before its CRC"),
        ({"install-code": "no digits"}, "an install code is hexadecimal digits"),
        ({"install-code": INSTALL_CODE + "0000"}, "does not match the CRC printed with it"),
        ({"kind": "bridge-3"}, "'bridge-3' is not one of 'ppmid', 'bridge-1', 'bridge-2'"),
        ({"role": "hub"}, "is not one of 'router', 'end-device', 'sleepy'"),
        ({"personality": "none"}, "'none' is not one of 'ember'"),
        ({"version": "FFFFFFFF"}, "is no file version such as 00010100"),
        ({"channel": 27}, "27 is not in the range 11<=x<=26"),
    ],
)
def test_a_wrong_option_is_named(pki: Path, changes: dict[str, object], says: str) -> None:
    assert says in device(pki, **changes)


def test_an_install_code_counts_with_its_crc_and_without() -> None:
    from hil.device_command import _read_install_code

    for octets in (6, 8, 12, 16):
        code = bytes(range(octets))
        printed = code + install_code_crc(code)
        for text in (code.hex(), printed.hex(":"), printed.hex().upper()):
            assert _read_install_code(None, None, text) == install_code_key(code)  # type: ignore[arg-type]


def test_a_folder_without_a_broker_is_said(pki: Path, tmp_path: Path) -> None:
    says = "RequestError: {} has no certificates of an Access Control Broker"
    assert device(pki, keys=tmp_path) == says.format(tmp_path)


def test_a_radio_that_is_not_there_breaks_the_bench_in_one_sentence(pki: Path) -> None:
    said = device(pki)
    assert said.startswith(f"BenchBroke: the radio {NOBODY} does not answer: ")


def test_a_state_of_another_kind_or_in_use_is_refused(pki: Path, tmp_path: Path) -> None:
    held = StateFolder(tmp_path / "state", "bridge-1")
    assert "state at this moment" in device(pki, state=tmp_path / "state", kind="bridge-1")
    held.close()
    assert device(pki, state=tmp_path / "state").endswith(
        "is the state of a bridge-1, not of a ppmid"
    )


@pytest.mark.parametrize("name", ["flash", "gbcs"])
def test_a_state_that_does_not_read_is_refused(pki: Path, tmp_path: Path, name: str) -> None:
    held = StateFolder(tmp_path / "state", "ppmid")
    held.write({name: b"[1]"})
    held.close()
    said = device(pki, state=tmp_path / "state")
    assert said == "RequestError: what --state has is no state of a device"


def test_what_pki_issue_hands_over_is_all_a_device_needs(pki: Path, tmp_path: Path) -> None:
    words = ["pki", "issue", str(pki), "--eui64", "00DB1234567890B7", "--out", str(tmp_path / "b7")]
    assert CliRunner().invoke(cli, words).exit_code == 0
    identify = identities(tmp_path / "b7", "device", None)
    made = identify(0x00DB1234567890B7)
    assert len(list(made.trust.cells())) == 4, "both of the ACB, recovery and root"
    assert len(made.certificates) == 2
    with pytest.raises(RequestError, match="has no keys of the device 00DB1234567890B8: see"):
        identify(0x00DB1234567890B8)
