"""Every frame of whatever RTDS download RTDS_DIR names, however its folders are called.

Nothing here knows the sample the project was written with: a frame is what a .HEX file holds, a key
is what its name says, wherever in the download they are. The same is asked again of the download as
somebody else may keep it: other folders, other letters, several frames in a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gbcs_rig import write_scalars

from gbcs.certificates import CertificateStore
from gbcs.codes import MESSAGES
from gbcs.envelope import Cra, build_frame, parse_frame
from gbcs.errors import GbcsError
from hil.frame_commands import frame_group
from hil.key_folder import load_keys

REPOSITORY = Path(__file__).parents[2]
Rows = list[dict[str, Any]]


def frame_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".hex" and not path.name.startswith(".")
    )


def frames_of(path: Path) -> list[bytes]:
    """One frame in however many lines, or one in each."""
    lines = path.read_text("utf-8-sig").split()
    try:
        parse_frame(bytes.fromhex(lines[0]))
    except GbcsError:
        return [bytes.fromhex("".join(lines))]
    return [bytes.fromhex(line) for line in lines]


def named(download: Path) -> Path:
    """Not the fixture of the vectors: a download has neither their folders nor their index."""
    folder = (REPOSITORY / os.environ.get("RTDS_DIR", "../shared/vectors")).resolve()
    if not frame_files(folder):
        pytest.skip(f"{folder} holds no frames; RTDS_DIR names a download")
    # The project's own sample keeps the organisations' keys as scalars, a download has files.
    for path in folder.rglob("organisation-test-scalars.csv"):
        write_scalars(path, download)
    return folder


def rearranged(download: Path, folder: Path) -> None:
    """The same frames and keys as somebody else may have unpacked them."""
    for number, path in enumerate(frame_files(folder)):
        octets = [each.hex() for each in frames_of(path)]
        home = download / f"{number % 3} Use cases" / path.stem[:7]
        home.mkdir(parents=True, exist_ok=True)
        match number % 4:
            case 0:  # all of a use case in one file
                with (home / "all of them.hex").open("a") as file:
                    file.writelines(f"{each}\r\n" for each in octets)
            case 1:  # broken into lines, and spaced out
                text = "\n\n".join(each for each in octets)
                wrapped = [text[at : at + 64] for at in range(0, len(text), 64)]
                (home / f"{path.stem}.Hex").write_text("\n".join(wrapped) if len(octets) == 1
                                                       else text)  # fmt: skip
            case 2:
                upper = "\n".join(each.upper() for each in octets)
                (home / f"a copy of {path.stem} (2).HEX").write_bytes(
                    b"\xef\xbb\xbf" + upper.encode()
                )
            case _:
                (home / f"{path.stem}.hex").write_text("\n".join(octets) + "\n\n")
        (home / f"{path.stem}.XML").write_text("<sr:Request/>")
        (home / "README").write_text("DD00")
        (home / "firmware.bin").write_bytes(b"\x1e\xf1\xee\x0b")
        (home / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    for path in [*folder.rglob("*"), *download.glob("*.key")]:
        suffix = path.suffix.lower()
        if suffix in (".pem", ".key"):
            home = download / "Key store" / suffix[1:]
            home.mkdir(parents=True, exist_ok=True)
            (home / f"{path.stem.upper()}{path.suffix.upper()}").write_bytes(path.read_bytes())
    for path in download.glob("*.key"):
        path.unlink()


@pytest.fixture(scope="module", params=["as it is", "rearranged"])
def download(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """The folders of a download: all of it, and what else it takes to read the sample's keys."""
    own = tmp_path_factory.mktemp("a download")
    folder = named(own)
    if request.param == "as it is":
        return [folder, own]
    rearranged(own, folder)
    return [own]


@pytest.fixture(scope="module")
def all_keys(download: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`--keys` names one folder: one with links to those of the download."""
    folder = tmp_path_factory.mktemp("keys")
    for at, source in enumerate(download):
        for path in source.rglob("*"):
            if path.suffix.lower() in (".pem", ".key"):
                home = folder / f"{at}" / path.parent.relative_to(source)
                home.mkdir(parents=True, exist_ok=True)
                (home / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def store(all_keys: Path) -> CertificateStore:
    return load_keys(all_keys)


@pytest.fixture(scope="module")
def rows(download: list[Path], all_keys: Path) -> Rows:
    arguments = ["decode", "--json", "--keys", str(all_keys), str(download[0])]
    result = CliRunner().invoke(frame_group, arguments)
    assert result.exit_code == 0, result.exception or result.output[:2000]
    document: Rows = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def given(download: list[Path]) -> list[tuple[str, bytes]]:
    """Every frame of the download, and its file."""
    return [(str(path), each) for path in frame_files(download[0]) for each in frames_of(path)]


def pairs(
    rows: Rows, given: list[tuple[str, bytes]]
) -> Iterator[tuple[dict[str, Any], str, bytes]]:
    assert [row["file"] for row in rows] == [name for name, _ in given]
    for row, (name, octets) in zip(rows, given, strict=True):
        yield row, name, octets


def test_every_frame_is_decoded(rows: Rows, given: list[tuple[str, bytes]]) -> None:
    assert rows
    for row, name, _ in pairs(rows, given):
        assert row["error"] is None, name


def test_every_envelope_is_built_again_octet_for_octet(given: list[tuple[str, bytes]]) -> None:
    for name, octets in given:
        received = parse_frame(octets)
        assert build_frame(received.frame, received.lengths) == octets, name


def test_every_signature_and_mac_that_is_there_is_verified(
    rows: Rows, given: list[tuple[str, bytes]], store: CertificateStore
) -> None:
    """Two devices agree on keys nobody has published a half of; everybody else's are there."""
    for row, name, octets in pairs(rows, given):
        frame = parse_frame(octets).frame
        between_devices = store.is_device(frame.originator) and store.is_device(frame.recipient)
        for verdict, protection in ((row["signature"], frame.signature), (row["mac"], frame.mac)):
            if not protection:
                assert verdict == "absent", name
            elif verdict != "valid":
                assert (verdict, between_devices) == ("no-key", True), name


def test_every_encrypted_attribute_is_decrypted(rows: Rows) -> None:
    for row in rows:
        assert all(each["verdict"] == "valid" for each in row["attributes"]), row["file"]


def test_every_frame_of_a_use_case_is_read_field_by_field(rows: Rows) -> None:
    for row in rows:
        code, cra = int(row["message_code"], 16), Cra[row["cra"].upper()]
        if (code, cra) in MESSAGES:
            names = [each["name"] for each in row["fields"]]
            assert any(name.startswith("payload.") for name in names), row["file"]


def test_every_frame_is_built_again_from_its_fields(
    rows: Rows, given: list[tuple[str, bytes]]
) -> None:
    """Of a use case without the octets of its payload; signature and MAC are carried along."""
    stripped = [
        row | {"payload": {k: v for k, v in row["payload"].items() if k != "octets"}}
        if len(set(row["payload"]) - {"octets", "lengths"}) > 0
        else row
        for row in rows
    ]
    result = CliRunner().invoke(frame_group, ["build", "-"], input=json.dumps(stripped))
    assert result.exit_code == 0, result.exception
    built = result.stdout.split()
    assert len(built) == len(given)
    for text, (name, octets) in zip(built, given, strict=True):
        assert text == octets.hex().upper(), name


def test_the_rearranged_download_is_the_whole_download(
    rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = named(tmp_path_factory.mktemp("counted"))
    assert len(rows) == sum(len(frames_of(path)) for path in frame_files(folder))
