"""`hanbench frame decode` as a reader at a terminal, or a script, sees it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from gbcs.block_transfer import split
from hil.errors import HanbenchError
from hil.frame_commands import frame_group
from hil.pki_commands import pki_group

# The layout of test_envelope.py's CS08 command, with a MAC nobody made.
COMMAND = (
    "DD000000000000461100000000DF090100000000000005140890B3D51F300000020800DB1234567890A400"
    "12012990B3D51F3001000000000000000003E802050000000102030405060708090A0B"
)
KEYS = {
    "file", "use_case", "message_code", "cra", "originator", "recipient", "originator_counter",
    "payload", "signature", "mac", "note", "error", "envelope", "fields", "attributes",
}  # fmt: skip


def run(*arguments: str, group: click.Group = frame_group) -> Result:
    return CliRunner().invoke(group, arguments)


def decode(*arguments: str, exit_code: int = 0) -> list[dict[str, Any]]:
    result = run("decode", "--json", *arguments)
    assert result.exit_code == exit_code, result.output
    document: list[dict[str, Any]] = json.loads(result.stdout)
    assert all(set(row) == KEYS for row in document)
    return document


def test_a_frame_is_decoded_from_its_hexadecimal() -> None:
    (row,) = decode(COMMAND)
    where = {each["name"]: (each["offset"], each["length"]) for each in row.pop("fields")}
    assert where["originator"] == (25, 8)
    assert where["payload"] == (62, 3)
    assert where["payload.null"] == (63, 2)
    assert row == {
        "file": None,
        "use_case": "CS08",
        "message_code": "0x0129",
        "cra": "command",
        "originator": "90B3D51F30000002",
        "recipient": "00DB1234567890A4",
        "originator_counter": 1300,
        "payload": {"octets": "0500"},
        "signature": "absent",
        "mac": "no-key",
        "note": None,
        "error": None,
        "attributes": [],
        "envelope": {
            "supplementary_remote_party_id": "90B3D51F30010000",
            "supplementary_remote_party_counter": 1000,
            "signature": "",
            "mac": "000102030405060708090A0B",
        },
    }


def test_however_a_frame_is_written_it_is_the_same_frame(tmp_path: Path) -> None:
    octets = bytes.fromhex(COMMAND)
    text = base64.b64encode(octets).decode()
    spaced = " ".join(COMMAND[at : at + 2] for at in range(0, len(COMMAND), 2)).lower()
    forms = {
        "octets.bin": octets,
        "one.HEX": COMMAND.encode() + b"\r\n",
        "wrapped.hex": b"\xef\xbb\xbf" + spaced.replace(" ", "\n").encode(),
        "base64.txt": text.encode() + b"\n",
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in forms]
    rows = decode(COMMAND, spaced, text, *paths)
    assert [row.pop("file") for row in rows] == [None, None, None, *paths]
    assert all(row == rows[0] for row in rows)


def test_every_published_frame_is_decoded_and_verified(
    vectors: Path, key_folder: Path, published_index: list[dict[str, str]]
) -> None:
    names = [row["file"] for row in published_index]
    paths = [str(vectors / "rtds" / name) for name in names]
    rows = decode("--keys", str(key_folder), *paths)
    for row, expected in zip(rows, published_index, strict=True):
        assert row["error"] is None
        assert row["signature"] == ("valid" if expected["signature"] == "Y" else "absent")
        assert row["mac"] == ("valid" if expected["mac"] == "Y" else "absent")
        assert row["message_code"] == expected["message_code"]


def test_an_activation_alert_is_shown_field_by_field(vectors: Path) -> None:
    path = vectors / "rtds" / "CS09_NA_8F8B_ALERT_GBCS.HEX"
    (row,) = decode(str(path))
    row["payload"].pop("octets")
    assert row["payload"] == {
        "execution_date_time": "2015-01-01T00:00:00Z",
        "firmware_version": "1234ABCD",
        "result": "activation-success",
        "alert_code": "8F8B",
    }
    tree = run("decode", str(path))
    assert tree.exit_code == 0
    lines = tree.output.splitlines()
    assert lines[0] == f"{path}: CS09 alert, 132 octets"
    assert "      3     8  originator counter    0000000000001388" in lines
    assert "     58     6    firmware version    04041234ABCD  = 1234ABCD" in lines
    assert "  signature: no-key" in lines


def test_without_the_certificate_in_the_folder_the_verdict_is_no_key(
    vectors: Path, key_folder: Path, tmp_path: Path
) -> None:
    for path in key_folder.iterdir():
        if path.name != "00db1234567890a4-ds.pem":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    alert = str(vectors / "rtds" / "CS09_NA_8F8B_ALERT_GBCS.HEX")
    assert decode("--keys", str(key_folder), alert)[0]["signature"] == "valid"
    assert decode("--keys", str(tmp_path), alert)[0]["signature"] == "no-key"


def test_a_tampered_frame_is_judged_invalid_and_fails(
    published: dict[str, bytes], key_folder: Path
) -> None:
    octets = bytearray(published["CS08_11.2_SUCCESS_RESPONSE_GBCS.HEX"])
    octets[-20] ^= 1
    (row,) = decode("--keys", str(key_folder), octets.hex(), exit_code=1)
    assert row["mac"] == "invalid"
    assert row["error"] is None


def test_a_broken_frame_has_its_sentence_and_the_others_are_decoded(tmp_path: Path) -> None:
    empty, noise = tmp_path / "empty.hex", tmp_path / "noise.bin"
    empty.write_bytes(b"\n")
    noise.write_bytes(b"\x80\x81\x82")
    rows = decode(COMMAND[:-2], COMMAND, "ABC", str(empty), str(noise), exit_code=1)
    assert [row["error"] is None for row in rows] == [False, True, False, False, False]
    assert rows[0]["error"] == "GBCS frame: length at offset 7 is 70, and 69 octets follow"
    assert rows[0]["use_case"] is None
    assert rows[3]["file"] == str(empty)
    tree = run("decode", COMMAND[:-2])
    assert tree.exit_code == 1
    assert "length at offset 7" in tree.output


def test_a_broken_payload_leaves_the_envelope_readable() -> None:
    broken = COMMAND.replace("02050000", "02050100", 1)
    (row,) = decode(broken, exit_code=1)
    assert row["use_case"] == "CS08"
    assert row["payload"] == {"octets": "0501"}
    assert (
        row["error"]
        == "CS08 command: null at offset 63 cannot be read, its length is 1 and 0 octet(s) follow"
    )
    assert "error: CS08 command" in run("decode", broken).output


def test_what_is_no_file_and_no_frame_is_a_wrong_request(tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(0x50000))
    for argument in ("missing1.HEX", "missing1", str(tmp_path), str(large), "nul\0octet"):
        result = run("decode", "--json", COMMAND, argument)
        assert isinstance(result.exception, HanbenchError), argument
        assert result.exception.exit_code == 2
        assert result.stdout == ""


def test_keys_that_are_not_there_are_a_wrong_request(tmp_path: Path) -> None:
    result = run("decode", "--keys", str(tmp_path / "missing"), COMMAND)
    assert isinstance(result.exception, HanbenchError)
    assert result.exception.exit_code == 2


@pytest.fixture(scope="module")
def pki_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki") / "made"
    assert run("create", str(folder), group=pki_group).exit_code == 0
    return folder


def test_a_key_file_that_is_not_what_its_name_says_is_left_out_and_named(
    pki_folder: Path, tmp_path: Path
) -> None:
    for path in pki_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    ppmid = tmp_path / "00db1234567890a4-ka.pem"
    ppmid.write_bytes((tmp_path / "00db1234567890a2-ka.pem").read_bytes())
    (tmp_path / "90b3d51f30000001-ds.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nnot one")
    (tmp_path / "90b3d51f30010000-ka.key").write_bytes(b"not one")
    (tmp_path / "fffffffffffffffe-ka.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----")
    result = run("decode", "--keys", str(tmp_path), COMMAND)
    assert "MAC: no-key" in result.stdout
    assert "00db1234567890a4-ka.pem left out" in result.stderr
    assert "90b3d51f30000001-ds.pem left out" in result.stderr
    assert "90b3d51f30010000-ka.pem left out" in result.stderr
    assert "fffffffffffffffe" not in result.stderr
    complete = run("decode", "--keys", str(pki_folder), COMMAND)
    assert "MAC: invalid" in complete.stdout
    assert complete.exit_code == 1
    assert complete.stderr == ""


# -- build -------------------------------------------------------------------------------------


def build(*arguments: str, given: object = None) -> list[str]:
    text = None if given is None else json.dumps(given)
    result = CliRunner().invoke(frame_group, ["build", *arguments], input=text)
    assert result.exit_code == 0, result.exception
    return result.stdout.split()


def refused(given: object, *arguments: str) -> str:
    result = CliRunner().invoke(frame_group, ["build", *arguments, "-"], input=json.dumps(given))
    assert isinstance(result.exception, HanbenchError), result.output
    assert result.exception.exit_code == 2
    assert result.stdout == ""
    return str(result.exception)


def test_what_decode_prints_builds_every_published_frame_again(
    vectors: Path, key_folder: Path
) -> None:
    files = sorted((vectors / "rtds").glob("*.HEX"))
    rows = decode("--keys", str(key_folder), str(vectors / "rtds"))
    assert [row["file"] for row in rows] == [str(path) for path in files]
    frames = [path.read_text().strip() for path in files]
    assert build("-", given=rows) == frames
    # With keys a MAC is made anew, and a signature that holds is kept.
    assert build("--keys", str(key_folder), "-", given=rows) == frames
    # The fields count, not the octets beside them.
    for row in rows:
        if set(row["payload"]) > {"octets", "lengths"}:
            row["payload"]["octets"] = ""
    assert build("-", given=rows) == frames


def test_a_changed_field_is_protected_anew(pki_folder: Path) -> None:
    command = {
        "message_code": "0x0129",
        "cra": "command",
        "originator": "90B3D51F30000002",
        "recipient": "00DB1234567890A4",
        "originator_counter": 7,
        "payload": {},
    }
    response = command | {
        "cra": "response",
        "originator": "00DB1234567890A4",
        "recipient": "90B3D51F30000002",
        "payload": {"firmware_version": "0123ABCD", "result": "read-success"},
    }
    alert = response | {
        "message_code": "012B",
        "cra": "alert",
        "payload": {
            "execution_date_time": "2026-01-01T00:00:00Z",
            "firmware_version": "0123ABCD",
            "result": "activation-failure",
        },
    }
    keys = ("--keys", str(pki_folder))
    frames = build(*keys, "-", given=[command, response, alert])
    rows = decode(*keys, *frames)
    assert [(row["signature"], row["mac"]) for row in rows] == [
        ("absent", "valid"),
        ("absent", "valid"),
        ("valid", "absent"),
    ]
    assert rows[2]["payload"]["result"] == "activation-failure"
    rows[1]["payload"]["firmware_version"] = "0123ABCE"
    rows[2]["payload"]["result"] = "activation-success"
    stale = decode(*keys, *build("-", given=rows[1:]), exit_code=1)
    assert [(row["signature"], row["mac"]) for row in stale] == [
        ("absent", "invalid"),
        ("invalid", "absent"),
    ]
    fresh = decode(*keys, *build(*keys, "-", given=rows[1:]))
    assert fresh[0]["payload"]["firmware_version"] == "0123ABCE"
    assert fresh[1]["signature"] == "valid"


def test_a_protection_a_document_says_is_absent_is_left_out() -> None:
    (row,) = decode(COMMAND)
    (bare,) = build("-", given=row | {"mac": "absent"})
    assert bare == COMMAND[26:-24]
    (pre_command,) = build(
        "-", given=row | {"envelope": row["envelope"] | {"signature": None, "mac": None}}
    )
    assert pre_command == COMMAND[26:-26]


def test_a_document_that_is_no_frame_is_refused_in_a_sentence() -> None:
    (row,) = decode(COMMAND)
    assert "originator is missing" in refused({k: v for k, v in row.items() if k != "originator"})
    assert "is an object" in refused(["x"])
    assert "cra is 'commando'" in refused(row | {"cra": "commando"})
    assert "payload.version is no field" in refused(row | {"payload": {"version": 1}})
    wrong = row | {"cra": "response", "payload": {"firmware_version": "0123ABCD", "result": "odd"}}
    assert "payload.result is 'odd'" in refused(wrong)
    assert "payload.firmware_version is missing" in refused(
        row | {"cra": "response", "payload": {"result": "read-success"}}
    )
    assert "--keys" in refused(row | {"envelope": {}})
    assert "originator_counter" in refused(row | {"originator_counter": 2**64})
    assert "lengths" in refused(row | {"envelope": row["envelope"] | {"lengths": [9]}})
    result = CliRunner().invoke(frame_group, ["build", "-"], input="{")
    assert isinstance(result.exception, HanbenchError)


def test_a_folder_without_frames_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "request.XML").write_text("<sr:Request/>")
    result = run("decode", str(tmp_path))
    assert isinstance(result.exception, HanbenchError)
    assert result.exception.exit_code == 2


def test_of_a_folder_only_what_may_be_a_frame_is_read(tmp_path: Path) -> None:
    home = tmp_path / "8.9 read" / "inner"
    home.mkdir(parents=True)
    (home / "a frame.Hex").write_text(COMMAND)
    (home / "octets.BIN").write_bytes(bytes.fromhex(COMMAND))
    (home / "._a frame.Hex").write_bytes(b"\x00\x05\x16\x07")  # what archives keep beside a file
    (home / "firmware.bin").write_bytes(bytes.fromhex("1EF1EE0B"))
    (home / "folder.hex").mkdir()
    rows = decode(str(tmp_path))
    assert [Path(row["file"]).name for row in rows] == ["a frame.Hex", "octets.BIN"]
    assert {row["use_case"] for row in rows} == {"CS08"}


def test_a_file_has_one_frame_in_many_lines_or_one_in_each(tmp_path: Path) -> None:
    path = tmp_path / "frames.hex"
    path.write_text("\n".join(COMMAND[at : at + 9] for at in range(0, len(COMMAND), 9)))
    assert [row["use_case"] for row in decode(str(path))] == ["CS08"]
    path.write_text(f"{COMMAND}\r\n\r\n{COMMAND.lower()}\n{COMMAND[:-2]}\n")
    rows = decode(str(path), exit_code=1)
    assert [row["file"] for row in rows] == [str(path)] * 3
    assert [row["error"] is None for row in rows] == [True, True, False]


def test_a_frame_in_blocks_is_decoded_as_the_frame_it_is() -> None:
    blocks = b"".join(split(bytes.fromhex(COMMAND), 30))
    (row,) = decode(blocks.hex())
    assert row["use_case"] == "CS08"
    (row,) = decode(blocks[: -len(split(bytes.fromhex(COMMAND), 30)[-1])].hex(), exit_code=1)
    assert "the last block is not there" in row["error"]


def test_a_frame_that_lacks_a_protection_says_so() -> None:
    bare = COMMAND[26:-24]
    assert decode(bare)[0]["note"] == "it has nothing, the message needs a MAC"
    assert decode(bare[:-2])[0]["note"] == "a pre-command, not signed yet"
    assert "note: a pre-command" in run("decode", bare[:-2]).output


def test_an_encrypted_attribute_is_shown_to_whom_it_is_for(vectors: Path, key_folder: Path) -> None:
    path = str(vectors / "rtds" / "ECS21b_4.14_URP_SUCCESS_RESPONSE_GBCS.HEX")
    (row,) = decode("--keys", str(key_folder), path)
    (attribute,) = row["attributes"]
    assert attribute["verdict"] == "valid"
    assert len(attribute["octets"]) == 2 * (attribute["length"] - 17)
    (row,) = decode(path)
    assert row["attributes"][0] | {"offset": 0} == {
        "offset": 0, "length": 227, "verdict": "no-key", "octets": None,
    }  # fmt: skip
    assert "encrypted attribute: 227 octets" in run("decode", path).output
