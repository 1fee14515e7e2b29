"""`hanbench image`: what a person at a terminal, and a script, get to see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from firmware_images.image import read_image
from firmware_images.samples import maker_key, maker_key_stream, verify_maker
from hil.image_commands import image_group
from hil.seeds import Seeds


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(image_group, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def built(tmp_path: Path) -> Path:
    path = tmp_path / "bridge1.ota"
    result = run("build", "--kind", "bridge-1", "--version", "00000002", "--size", 4096, "-o", path)
    assert result.exit_code == 0, result.output
    return path


def assert_refused(result: Result, words: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_inspect_shows_the_fields_with_their_places(built: Path) -> None:
    result = run("inspect", built)
    assert result.exit_code == 0
    for words in ("total image size", "4096", "A17A", "opaque body", "maker's trailer"):
        assert words in result.stdout
    assert "fits: bridge-1" in result.stdout
    assert f"sha256: {read_image(built.read_bytes()).sha256}" in result.stdout


def test_inspect_tells_a_script_the_same_as_one_document(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.ota"
    body = tmp_path / "body.bin"
    body.write_bytes(bytes.fromhex("0000 03000000 010203"))
    ids = ("--manufacturer", "1234", "--image-type", "0x0001")
    assert run("build", "--body", body, *ids, "--version", "00000001", "-o", other).exit_code == 0
    result = run("inspect", built, other, "--json")
    first, second = json.loads(result.stdout)
    assert result.stderr == ""
    assert first["fits"] == "bridge-1"
    assert first["file_version"] == "00000002"
    assert first["maker_trailer"] is True
    assert first["elements"] is None
    assert {"name": "image type", "offset": 12, "length": 2, "value": 0x0A01} in first["fields"]
    assert second["fits"] is None
    assert second["maker_trailer"] is False
    assert second["elements"] == [{"tag": 0, "offset": 62, "length": 3}]


def test_inspect_names_a_file_that_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing to do with firmware, but longer than any OTA header would be")
    assert_refused(run("inspect", path), "file identifier at offset 0 is 6E 6F 74 68")


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_a_file_that_cannot_be_read_is_named(command: str, tmp_path: Path) -> None:
    assert_refused(run(command, tmp_path / "gone.ota"), "gone.ota cannot be read: No such file")
    assert_refused(run(command, tmp_path, "--json"), "cannot be read: Is a directory")


def test_a_device_file_without_end_does_not_fill_the_memory() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero here")
    assert_refused(run("check", "/dev/zero"), "/dev/zero is no image, it has more than")


def test_a_header_string_cannot_drive_the_terminal(built: Path) -> None:
    data = built.read_bytes()
    built.write_bytes(data[:20] + b"\x1b]0;mine\x07[red]".ljust(32, b"\0") + data[52:])
    result = run("inspect", built)
    assert "\x1b" not in result.stdout
    assert "\\x1b]0;mine\\x07[red]" in result.stdout


def test_check_lets_a_good_file_pass(built: Path) -> None:
    result = run("check", built)
    assert result.exit_code == 0
    assert result.stdout.endswith("bridge1.ota: 4096 bytes, may be sent\n")


def test_check_fails_when_one_of_several_files_is_wrong(built: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.ota"
    short.write_bytes(built.read_bytes()[:-1])
    result = run("check", built, short)
    assert result.exit_code == 1
    sentence = "total image size at offset 52 says 4096 bytes, the file has 4095"
    assert f"error: {short}: {sentence}" in result.stdout
    result = run("check", built, short, "--json")
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)
    assert (good["verdict"], bad["verdict"]) == ("pass", "fail")
    assert bad["findings"][0]["sentence"] == f"{short}: {sentence}"
    assert bad["findings"][0]["offset"] == 52


def test_check_takes_the_limit_it_is_given(built: Path) -> None:
    # 4096 bytes, 4036 behind the header.
    assert run("check", built, "--limit", 4).exit_code == 0
    assert run("check", built, "--limit", 4, "--unit", "kb").exit_code == 1
    assert run("check", built, "--limit", 3, "--scope", "body").exit_code == 1
    result = run("check", built, "--limit", 4, "--unit", "kb", "--scope", "body")
    assert "body has 4036 bytes, the limit is 4000" in result.stdout


def test_check_holds_the_body_to_the_format_only_when_asked(built: Path) -> None:
    assert run("check", built).exit_code == 0
    assert run("check", built, "--strict").exit_code == 1


@pytest.mark.requirement("MP170-R1", "bad")
def test_check_names_an_image_for_another_bridge(built: Path) -> None:
    result = run("check", built, "--kind", "bridge-2")
    assert result.exit_code == 1
    assert "image type at offset 12 is 0A01, bridge-2 has 0A02" in result.stdout


def test_a_built_image_is_the_one_a_run_of_the_same_seed_makes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.ota", "b.ota", "c.ota")]
    for path, seed in zip(paths, (7, 7, 8), strict=True):
        arguments = ("--kind", "ppmid", "--version", "0000000A", "--size", 768_000, "--seed", seed)
        assert run("build", *arguments, "-o", path).exit_code == 0
    first, again, other = (path.read_bytes() for path in paths)
    assert len(first) == 768_000
    assert first == again != other
    random_bits = Seeds(7).stream(maker_key_stream(0x121D)).getrandbits
    assert verify_maker(first, maker_key(random_bits).public_key()) is None


@pytest.mark.requirement("MP170-R1", "good")
def test_build_describes_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.ota"
    result = run("build", "--kind", "ppmid", "--version", "0x0000000a", "-o", path, "--json")
    document = json.loads(result.stdout)
    assert document["file"] == str(path)
    assert document["file_version"] == "0000000A"
    assert document["size_bytes"] == path.stat().st_size == 65_536


def test_build_wraps_a_body_of_ones_own(tmp_path: Path) -> None:
    body, path = tmp_path / "body.bin", tmp_path / "own.ota"
    body.write_bytes(b"my own firmware")
    ids = ("--manufacturer", "121D", "--image-type", "0084", "--hw-min", "1111", "--hw-max", "1112")
    version = ("--version", "00000003")
    assert run("build", *ids, *version, "--body", body, "-o", path).exit_code == 0
    image = read_image(path.read_bytes())
    assert bytes(image.body) == b"my own firmware"
    assert image.header.hardware_range() == range(0x1111, 0x1113)
    assert run("check", path, "--kind", "ppmid").exit_code == 0
    as_bridge = ("--body", body, "--kind", "bridge-3", "--force")
    assert run("build", *as_bridge, *version, "-o", path).exit_code == 0
    assert run("check", path, "--kind", "bridge-3").exit_code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "ppmid", "--size", "10"], "an image has 133 to 67108864 bytes, not 10"),
        (["--kind", "ppmid", "--hw-min", "0001"], "--hw-min goes with --body only"),
        ([], "--kind is needed"),
        (["--body", "BODY"], "--body needs --kind"),
        (["--body", "BODY", "--kind", "ppmid", "--size", "99"], "do not go with --body"),
        (["--body", "BODY", "--kind", "ppmid", "--hw-min", "0001"], "--kind says what"),
        (
            [
                "--body",
                "BODY",
                "--manufacturer",
                "0001",
                "--image-type",
                "0001",
                "--hw-max",
                "0001",
            ],
            "--hw-min and --hw-max go together",
        ),
        (["--body", "GONE", "--kind", "ppmid"], "GONE cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("BODY").write_bytes(b"body")
    assert_refused(run("build", *options, "--version", "00000002", "-o", "out.ota"), words)
    assert [path.name for path in tmp_path.iterdir()] == ["BODY"]


@pytest.mark.parametrize("version", ["2", "0000000G", "123456789", "-0000001", ""])
def test_a_version_is_eight_hexadecimal_digits(version: str, tmp_path: Path) -> None:
    result = run("build", "--kind", "ppmid", f"--version={version}", "-o", tmp_path / "a.ota")
    assert result.exit_code == 2
    assert "is not 8 hexadecimal digits" in result.stderr


def test_a_seed_beyond_its_range_is_refused(tmp_path: Path) -> None:
    options = ("--kind", "ppmid", "--version", "00000002", "-o", tmp_path / "a.ota")
    result = run("build", *options, "--seed", 2**64)
    assert result.exit_code == 2
    assert "Invalid value for '--seed'" in result.stderr


def test_build_overwrites_only_when_told_to(built: Path) -> None:
    before = built.read_bytes()
    options = ("build", "--kind", "bridge-2", "--version", "00000002", "-o", built)
    assert_refused(run(*options), "is there already; --force overwrites it")
    assert built.read_bytes() == before
    assert run(*options, "--force").exit_code == 0
    assert built.read_bytes() != before
    assert [path.name for path in built.parent.iterdir()] == ["bridge1.ota"]


def test_build_names_a_place_it_cannot_write_to(tmp_path: Path) -> None:
    options = ("build", "--kind", "ppmid", "--version", "00000002", "--force", "-o")
    assert_refused(run(*options, tmp_path), "is a folder; -o names a file")
    assert_refused(run(*options, tmp_path / "no" / "a.ota"), "cannot be written: No such file")
    assert_refused(run(*options, tmp_path / ("a" * 300)), "cannot be written: File name too long")


# -- damage --------------------------------------------------------------------------------


def test_damage_writes_a_file_beside_that_check_refuses(built: Path) -> None:
    result = run("damage", built, "--kind", "size-zero")
    assert result.exit_code == 0
    made = built.with_name("bridge1.size-zero.ota")
    assert result.stdout == f"{made}: 4096 bytes, size-zero: total image size 0\n"
    assert "total image size at offset 52 says 0" in run("check", made).stdout


def test_damage_is_the_same_for_the_same_seed_and_another_for_another(
    built: Path, tmp_path: Path
) -> None:
    files = []
    for number, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number}.ota"
        how = ("--kind", "flipped-bit:last", "--seed", seed, "-o", path)
        assert run("damage", built, *how).exit_code == 0
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


def test_damage_tells_a_script_what_it_did(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.ota"
    document = json.loads(run("damage", built, "--kind", "tail", "-o", path, "--json").stdout)
    assert document == {
        "file": str(path),
        "size_bytes": len(path.read_bytes()),
        "kind": "tail",
        "variant": "none",
    }


def test_damage_signed_again_is_the_makers_own(built: Path) -> None:
    assert run("damage", built, "--kind", "header-string", "--sign").exit_code == 0
    maker = maker_key(Seeds(1).stream(maker_key_stream(0xA17A)).getrandbits)
    data = built.with_name("bridge1.header-string.ota").read_bytes()
    assert verify_maker(data, maker.public_key()) is None


def test_damage_lists_46_kinds_and_their_variants() -> None:
    result = run("damage", "--list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len([line for line in lines if line[:2].strip().isdigit()]) == 46
    assert all(len(line) <= 100 for line in lines)
    listed = json.loads(run("damage", "--list", "--json").stdout)
    assert [kind["number"] for kind in listed] == list(range(1, 47))
    assert listed[36]["variants"] == ["first", "middle", "last"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "bent"], "no damage is called 'bent'; there are empty, magic"),
        (["--kind", "tail:x"], "damage tail has no variant 'x'; there are none, one"),
        (["--kind", "version-older"], "the version that the device runs: --running says it"),
        (["--kind", "size-more", "--sign"], "no maker's trailer ends the 4095 bytes"),
        ([], "FILE and --kind are needed; --list shows the kinds"),
        (["--list"], "--list shows what there is; it takes no FILE and no --kind"),
    ],
)
def test_damage_that_cannot_be_done_is_told_in_a_sentence(
    built: Path, arguments: list[str], words: str
) -> None:
    before = sorted(built.parent.iterdir())
    assert_refused(run("damage", built, *arguments), words)
    assert sorted(built.parent.iterdir()) == before


def test_damage_overwrites_nothing_unasked(built: Path) -> None:
    assert run("damage", built, "--kind", "magic").exit_code == 0
    assert_refused(run("damage", built, "--kind", "magic"), "is there already; --force")
    assert run("damage", built, "--kind", "magic", "--force").exit_code == 0
    assert_refused(run("damage", built, "--kind", "magic", "-o", built.parent), "is a folder")
