"""The bench file: what is wrong in it is told with its key, its line, and what would be right."""

from __future__ import annotations

import contextlib
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.bench_file import BUILT_IN, Bench, load_bench
from hil.errors import HanbenchError
from hil.faults import Fault
from hil.seeds import ROOT_MAX
from hil.toml_file import BenchFileError
from hil.toml_lines import KeyPath, key_lines

ONE_DEVICE = """
[[device]]
id = "ppmid"
kind = "ppmid"
"""

FULL = """
seed = 7
epoch = "2026-06-01T12:00:00+01:00"
ezsp = 13
clock = "real"
faults = ["loss 10 %", "loss 2.5% on bridge-1"]

[hub]
radio = "emulated"

[limits]
image_kb = 700
unit = "kb"
scope = "body"

[dsp]
profile = "duis-5.4"
commissioned = "strict"
bridge_as_other_device = "literal"
anomaly_threshold = 40
service_level_s = 7200

[dsp.codes]
replay = "E43"
schema = "E101"

[[device]]
id = "bridge-1"
kind = "bridge-1"
image = "images/new.ota"
image_policy = "opaque"
max_data_size = 50

[[device]]
id = "ihd"
kind = "ppmid"
image_size_bytes = 1000

[[fault]]
kind = "loss"
percent = 30
on = "hub"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> BenchFileError:
    with pytest.raises(BenchFileError) as caught:
        load_bench(write(folder, text))
    error = caught.value
    assert error.exit_code == 2
    assert "\n" not in str(error)
    assert str(error).startswith(str(folder / "bench.toml"))
    assert error.line is None or f"line {error.line}" in str(error)
    return error


# -- what a file means ---------------------------------------------------------------------


def test_without_a_file_there_is_a_hub_a_ppmid_and_two_bridges() -> None:
    bench = load_bench()
    assert [(device.id, device.kind, device.image_size_bytes) for device in bench.devices] == [
        ("ppmid", "ppmid", 65_536),
        ("bridge-1", "bridge-1", 768_000),
        ("bridge-2", "bridge-2", 65_536),
    ]
    assert set(bench.radios.values()) == {"emulated"}
    assert list(bench.radios) == ["hub", "ppmid", "bridge-1", "bridge-2"]
    assert (bench.seed, bench.ezsp, bench.faults) == (1, 14, ())
    assert bench.epoch == datetime(2026, 1, 1, tzinfo=UTC)
    assert bench.limits.size_limit().limit_bytes == 768_000
    assert (bench.dsp.profile, bench.dsp.commissioned) == ("mp170", "relaxed")
    assert (bench.dsp.codes.ppmid_alert, bench.dsp.codes.replay) == ("N39", "E42")
    assert bench.resolve_clock() == "virtual"


def test_everything_a_file_says_is_heard(tmp_path: Path) -> None:
    image = tmp_path / "images" / "new.ota"
    image.parent.mkdir()
    image.write_bytes(b"image")
    bench = load_bench(str(write(tmp_path, FULL)))
    assert (bench.seed, bench.ezsp, bench.resolve_clock()) == (7, 13, "real")
    assert bench.epoch == datetime(2026, 6, 1, 11, tzinfo=UTC)
    assert bench.faults == (
        Fault("loss", 10),
        Fault("loss", 2.5, "bridge-1"),
        Fault("loss", 30, "hub"),
    )
    assert bench.limits.size_limit().limit_bytes == 700_000
    assert (bench.dsp.profile, bench.dsp.commissioned) == ("duis-5.4", "strict")
    codes = bench.dsp.codes
    assert (codes.replay, codes.schema_, codes.doctype) == ("E43", "E101", "E100")
    options = bench.dsp.options(bench.limits)
    assert (options.profile, options.commissioned) == ("duis-5.4", "strict")
    assert options.bridge_as_other_device == "literal"
    assert (options.anomaly_threshold, options.service_level_s) == (40, 7200)
    assert options.size_limit() == bench.limits.size_limit()  # one limit for DSP, hub, devices
    bridge, ihd = bench.devices
    assert (bridge.image, bridge.image_policy) == (image, "opaque")
    assert (ihd.image, ihd.image_size_bytes) == (None, 1_000)
    assert [one.client_parameters().max_data_size for one in bench.devices] == [50, 56]


def test_a_time_need_not_be_quoted(tmp_path: Path) -> None:
    bench = load_bench(write(tmp_path, "epoch = 2030-01-01T00:00:00Z" + ONE_DEVICE))
    assert bench.epoch == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("radio", ["/dev/ttyUSB0", "rfc2217://lab3:4001", "tcp://127.0.0.1:9"])
def test_a_real_radio_sets_the_real_clock(tmp_path: Path, radio: str) -> None:
    text = f'[hub]\nradio = "{radio}"\n{ONE_DEVICE}radio = "/dev/ttyUSB1"\n'
    assert load_bench(write(tmp_path, text)).resolve_clock() == "real"
    error = refused(tmp_path, 'clock = "virtual"\n' + text)
    assert (error.key, error.line) == ("clock", 1)
    assert f'nobody can hurry {radio}: say clock = "real"' in str(error)


# -- unknown keys --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "line", "hint"),
    [
        ("sead = 1\n" + ONE_DEVICE, "sead", 1, "perhaps seed is meant"),
        ("[hub]\n\nradioo = 1\n" + ONE_DEVICE, "hub.radioo", 3, "perhaps radio is meant"),
        ("hub.colour = 1\n" + ONE_DEVICE, "hub.colour", 1, "max_devices, radio"),
        ("[hub.colour]\nr = 1\n" + ONE_DEVICE, "hub.colour", 1, "max_devices, radio"),
        ("hub = {radio = 'emulated', x = 1}\n" + ONE_DEVICE, "hub.x", 1, "max_devices, radio"),
        (
            'limits = {"unit" = "kb", sope = """\n#]"""}\n' + ONE_DEVICE,
            "limits.sope",
            1,
            "perhaps scope is meant",
        ),
        (ONE_DEVICE + ONE_DEVICE + "knid = 1", "device[1].knid", 9, "perhaps kind is meant"),
        (
            "device = [\n  {id = 'a', kind = 'ppmid'},\n  # {\n  {id='b', kind='ppmid', x=1}]",
            "device[1].x",
            4,
            "id, kind, radio",
        ),
        (ONE_DEVICE + '"max data" = 1', 'device[0]."max data"', 5, "max_data_size"),
        (ONE_DEVICE + "'max.data' = 1", 'device[0]."max.data"', 5, "max_data_size"),
        (ONE_DEVICE + '"s\\u00e9ed\\t" = 1', 'device[0]."s\\u00e9ed\\t"', 5, "there are"),
        ("# seed = 1\ntext = '''\nx = 1\n'''''\n\nx = 1" + ONE_DEVICE, "text", 2, "(and 1 more)"),
        (ONE_DEVICE + "[device.extra]\n", "device[0].extra", 5, "there are"),
        (ONE_DEVICE + "[[devices]]\n", "devices", 5, "perhaps device is meant"),
        ("[[devise]]\nid = 1\n", "devise", 1, "perhaps device is meant"),
        ("[tunnel]\noctets = [1]\n" + ONE_DEVICE, "tunnel", 1, "limits, radios, dsp"),
        ("[dsp]\nprofil = 1\n" + ONE_DEVICE, "dsp.profil", 2, "perhaps profile is meant"),
        ("[dsp.codes]\nreply = 'E1'\n" + ONE_DEVICE, "dsp.codes.reply", 2, "replay is meant"),
    ],
)
def test_a_misspelt_key_is_named_with_its_line(
    tmp_path: Path, text: str, key: str, line: int, hint: str
) -> None:
    error = refused(tmp_path, text)
    assert (error.key, error.line) == (key, line)
    assert f"{key} is not a key here: " in str(error)
    assert hint in str(error)


# -- wrong values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "line", "says"),
    [
        ("seed = -1" + ONE_DEVICE, "seed", 1, f"a whole number from 0 to {ROOT_MAX}"),
        ("seed = 1.5" + ONE_DEVICE, "seed", 1, "seed is 1.5, but it must be a whole number"),
        ("seed = '1'" + ONE_DEVICE, "seed", 1, "seed is '1', but it must be a whole number"),
        ("seed = true" + ONE_DEVICE, "seed", 1, "seed is true, but it must be a whole number"),
        (f"seed = 0x{'f' * 5000}" + ONE_DEVICE, "seed", 1, "is a number beyond all bounds, but"),
        ("ezsp = 15" + ONE_DEVICE, "ezsp", 1, "ezsp is 15, but it must be a whole number from"),
        ("clock = 'fast'" + ONE_DEVICE, "clock", 1, '"virtual" or "real"'),
        ("epoch = '2026-01-01'" + ONE_DEVICE, "epoch", 1, "with its zone"),
        ("epoch = '1999-12-31T23:59:59Z'" + ONE_DEVICE, "epoch", 1, "from 2000 to 2099"),
        ("epoch = 'soon'" + ONE_DEVICE, "epoch", 1, 'such as "2026-01-01T00:00:00Z"'),
        ("hub = 3" + ONE_DEVICE, "hub", 1, "hub is 3, but it must be a table, [hub]"),
        ("[hub]\nradio = 'ttyUSB0'" + ONE_DEVICE, "hub.radio", 2, "path of a serial port"),
        ("[hub]\nradio = 'mem://r/hub'" + ONE_DEVICE, "hub.radio", 2, '"emulated"'),
        ("[limits]\nimage_kb = 0" + ONE_DEVICE, "limits.image_kb", 2, "from 1 to 9999"),
        ("[limits]\nimage_kb = 10000" + ONE_DEVICE, "limits.image_kb", 2, "from 1 to 9999"),
        ("[limits]\nunit = 'MB'" + ONE_DEVICE, "limits.unit", 2, '"kib" (1024) or "kb" (1000)'),
        ("dsp.profile = 'duis-5.3'" + ONE_DEVICE, "dsp.profile", 1, '"mp170" or "duis-5.4"'),
        ("[dsp]\ncommissioned = true" + ONE_DEVICE, "dsp.commissioned", 2, '"relaxed" or "strict"'),
        ("[dsp.codes]\n\nreplay = 'N39'" + ONE_DEVICE, "dsp.codes.replay", 3, "a response code"),
        ("[dsp.codes]\nppmid_alert = 'E42'" + ONE_DEVICE, "dsp.codes.ppmid_alert", 2, "a DCC al"),
        ("dsp.codes.schema = 100" + ONE_DEVICE, "dsp.codes.schema", 1, "schema is 100, but"),
        ("dsp.codes = 'E42'" + ONE_DEVICE, "dsp.codes", 1, "a table, [dsp.codes]"),
        ("device = []", "device", 1, "1 to 6 tables, [[device]]"),
        ("device = ['x']", "device[0]", 1, "but device must be 1 to 6 tables"),
        ("[device]\nid = 'a'", "device", 1, "1 to 6 tables, [[device]]"),
        (ONE_DEVICE + "[[device]]\nid = 'x'", "device[1].kind", 5, "kind is missing: it must be"),
        (ONE_DEVICE + "image = ''", "device[0].image", 5, "the path of an OTA file"),
        (ONE_DEVICE + "image_size_bytes = 100", "device[0].image_size_bytes", 5, "from 256 to"),
        (ONE_DEVICE + "image_policy = 'any'", "device[0].image_policy", 5, '"opaque"'),
        (ONE_DEVICE + "role = 'mobile'", "device[0].role", 5, '"router", "end-device" or "sle'),
        (ONE_DEVICE + "max_data_size = 256", "device[0].max_data_size", 5, "from 1 to 255"),
        (ONE_DEVICE + "tunnel = 0", "device[0].tunnel", 5, "true or false"),
        (ONE_DEVICE.replace('"ppmid"', '"P 1"', 1), "device[0].id", 3, "small letters, digits"),
        ("[[device]]\nid = 3\nkind = 'meter'", "device[0].id", 2, "(and 1 more)"),
        ("faults = 'loss 1 %'" + ONE_DEVICE, "faults", 1, 'a list of texts such as "loss 10 %'),
        ("faults = ['jitter 5 ms']" + ONE_DEVICE, "faults[0]", 1, "'jitter' is none; say \"loss"),
        ("faults = [\n'loss 1 %',\n3]" + ONE_DEVICE, "faults[1]", 3, "faults[1] is 3, but faults"),
        (ONE_DEVICE + "[[fault]]\nkind = 'loss'", "fault[0]", 5, "'loss' needs a percentage"),
        (ONE_DEVICE + "[[fault]]\nkind = 'fog'\npercent = 1", "fault[0]", 5, 'say "loss", '),
        (ONE_DEVICE + "[[fault]]\nkind = 'NAK'\nnumber = 0", "fault[0]", 5, "it is 1 to 999999999"),
        (ONE_DEVICE + "[[fault]]\nkind = 'NAK'\nnumber = 1.5", "fault[0].number", 7, "1 for the"),
        (ONE_DEVICE + "[[fault]]\nkind = 'loss'\npercent = nan", "fault[0].percent", 7, "0 to 100"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_would_be_right(
    tmp_path: Path, text: str, key: str, line: int, says: str
) -> None:
    error = refused(tmp_path, text)
    assert (error.key, error.line) == (key, line)
    assert says in str(error)


@pytest.mark.parametrize("text", ["", "seed = 1\n", "[hub]\n"])
def test_a_bench_without_devices_is_refused(tmp_path: Path, text: str) -> None:
    assert "device is missing: it must be 1 to 6 tables" in str(refused(tmp_path, text))


# -- values that contradict each other -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "line", "says"),
    [
        (ONE_DEVICE + ONE_DEVICE, "device[1].id", 7, "'ppmid', which is taken already"),
        (ONE_DEVICE.replace('"ppmid"', '"hub"', 1), "device[0].id", 3, "taken already"),
        (ONE_DEVICE + "image = 'none.ota'", "device[0].image", 5, "there is no such file"),
        (
            ONE_DEVICE + "image = 'bench.toml'\nimage_size_bytes = 300",
            "device[0].image_size_bytes",
            6,
            "leave image_size_bytes out",
        ),
        ("\nfaults = ['loss 1 % on moon']" + ONE_DEVICE, "faults[0]", 2, "which has hub, ppmid"),
        (
            ONE_DEVICE + "[[fault]]\nkind='loss'\npercent=1\non='moon'",
            "fault[0]",
            5,
            "'loss 1 % on moon' is on nothing of this bench",
        ),
        (ONE_DEVICE + "radio = '/dev/a'", "device[0].radio", 5, "share no air"),
        ("[hub]\nradio = '/dev/a'" + ONE_DEVICE, "device[0]", 3, "share no air"),
        (
            "[hub]\nradio = '/dev/a'" + ONE_DEVICE + "radio = '/dev/a'",
            "device[0].radio",
            6,
            "which hub is on already",
        ),
        (
            "faults = ['loss 1 %']\n[hub]\nradio = '/dev/a'" + ONE_DEVICE + "radio = '/dev/b'",
            "faults[0]",
            1,
            "needs emulated radios",
        ),
    ],
)
def test_what_no_single_value_shows_is_told_at_its_line(
    tmp_path: Path, text: str, key: str, line: int, says: str
) -> None:
    error = refused(tmp_path, text)
    assert (error.key.removesuffix(".radio"), error.line) == (key.removesuffix(".radio"), line)
    assert says in str(error)


# -- files that are no TOML ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed = \n", 1),
        ("seed = 1\nseed = 2\n", 2),
        ("\n\n[hub\n", 3),
        ("seed = 1\nhub = {", 2),
        ("[hub]\n\n[hub]\n", 3),
        ("\ufeffseed = 1", 1),
    ],
)
def test_a_slip_in_the_syntax_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    error = refused(tmp_path, text)
    assert error.line == line
    assert "is not TOML: " in str(error)


def test_a_file_that_is_no_bench_file_is_refused(tmp_path: Path) -> None:
    assert "nested too deeply" in str(refused(tmp_path, "x = " + "[" * 50_000))
    assert "too many digits" in str(refused(tmp_path, "x = " + "1" * 5_000))
    assert "more than 1048576 bytes" in str(refused(tmp_path, "#" * 1_048_577))
    path = tmp_path / "bench.toml"
    path.write_bytes(b"seed = 1\n# \xff\n")
    with pytest.raises(BenchFileError, match="line 2 is not UTF-8"):
        load_bench(path)
    with pytest.raises(BenchFileError, match=r"none\.toml cannot be read: No such file"):
        load_bench(tmp_path / "none.toml")
    with pytest.raises(BenchFileError, match="cannot be read: Is a directory"):
        load_bench(tmp_path)
    with pytest.raises(BenchFileError, match="cannot be read: embedded null byte"):
        load_bench("a\0b")


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([*FULL.splitlines(), "[[device]]", "x = 1", '"', "]", "{", "[a.b]"]),
            max_size=40,
        ).map(lambda lines: "\n".join(lines).encode()),
    )
)
def test_nothing_but_our_own_error_comes_out_of_a_bad_file(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.toml"
    path.write_bytes(octets)
    with contextlib.suppress(BenchFileError):
        assert load_bench(path).devices


# -- lines of keys -------------------------------------------------------------------------

keys = st.text("ab-_1 .é'\"\\\n", min_size=1, max_size=4)
scalars = st.one_of(st.integers(), st.booleans(), st.text("a#\"'\\\n[]{},=", max_size=8))


@st.composite
def values(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """The text of a value, and the lines (0 for its first) of what is inside."""
    form = draw(st.sampled_from(["scalar", "basic", "literal", "array", "inline"]))
    if form == "basic":
        return '"""\n#"\n\\" [x]\n""\\""""', {}
    if form == "literal":
        return "'''\n[[x]]\ny = 1'''''", {}
    inside: dict[KeyPath, int] = {}
    if form == "array":
        items = draw(st.lists(scalars, max_size=4))
        inside |= {(number,): number + 1 for number in range(len(items))}
        return "[ # ]\n" + "".join(f" {json.dumps(item)},\n" for item in items) + "]", inside
    if form == "inline":
        names = draw(st.lists(keys, max_size=3, unique=True))
        for name in names:
            inside |= {(name,): 0, (name, 0): 0, (name, 0, "z"): 0}
        return "{" + ", ".join(f"{json.dumps(name)} = [{{z = 1}}]" for name in names) + "}", inside
    return json.dumps(draw(scalars)), inside


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """A TOML text of tables and arrays of tables, and the line of each of its keys."""
    text = ""
    where: dict[KeyPath, int] = {}
    for name in draw(st.lists(keys, max_size=6, unique=True)):
        is_array = draw(st.booleans())
        for number in range(draw(st.integers(1, 3)) if is_array else 1):
            text += draw(st.sampled_from(["", "\n", "# [x]\n", "\n  # y = 1\n\n"]))
            where.setdefault((name,), text.count("\n") + 1)
            table: KeyPath = (name, number) if is_array else (name,)
            where.setdefault(table, text.count("\n") + 1)
            text += f"[[{json.dumps(name)}]]\n" if is_array else f"[ {json.dumps(name)} ] # ]\n"
            for key in draw(st.lists(keys, max_size=4, unique=True)):
                value, inside = draw(values())
                first = text.count("\n") + 1
                where[(*table, key)] = first
                where |= {(*table, key, *path): first + line for path, line in inside.items()}
                text += f" {json.dumps(key)} = {value} # =\n"
    return text, where


@settings(deadline=None)
@given(documents())
def test_every_key_is_found_on_its_line(document: tuple[str, dict[KeyPath, int]]) -> None:
    text, where = document
    tomllib.loads(text)
    assert key_lines(text) == where


# -- faults and options --------------------------------------------------------------------


def test_the_command_line_wins_and_its_faults_come_on_top() -> None:
    bench = BUILT_IN.with_options(seed=3, faults=["loss 1 %"])
    bench = bench.with_options(clock="real", ezsp=13, faults=["loss 2 % on bridge-2"])
    assert (bench.seed, bench.ezsp, bench.resolve_clock()) == (3, 13, "real")
    assert bench.faults == (Fault("loss", 1), Fault("loss", 2, "bridge-2"))
    assert BUILT_IN.with_options() == BUILT_IN


def test_an_image_given_by_hand_replaces_the_one_made_here(tmp_path: Path) -> None:
    image = tmp_path / "own.ota"
    image.write_bytes(b"image")
    bench = BUILT_IN.with_image("bridge-1", image, "opaque")
    assert [device.image for device in bench.devices] == [None, image, None]
    assert bench.devices[1].image_policy == "opaque"
    with pytest.raises(BenchFileError, match="there is no such file"):
        BUILT_IN.with_image("ppmid", tmp_path / "none.ota", "opaque")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": -1}, "seed -1 is not a number"),
        ({"faults": ["loss 1 % on moon"]}, "is on nothing of this bench"),
        ({"faults": ["fog"]}, "'fog' is none"),
    ],
)
def test_a_wrong_option_is_refused_without_a_file(options: dict[str, Any], says: str) -> None:
    with pytest.raises(HanbenchError) as caught:
        BUILT_IN.with_options(**options)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_asking_for_virtual_time_on_a_real_radio_is_refused(tmp_path: Path) -> None:
    text = f'[hub]\nradio = "/dev/a"\n{ONE_DEVICE}radio = "/dev/b"\n'
    bench = load_bench(write(tmp_path, text))
    assert isinstance(bench, Bench)
    with pytest.raises(BenchFileError, match="nobody can hurry /dev/a"):
        bench.with_options(clock="virtual")
