"""The pytest plugin: a bench as a fixture, and what a conformance suite needs around it.

Source: DESIGN, "What it promises to the outside" (pytest plugin); labgrid's plugin (one option
group, one prefix) and pytest-embedded's.

    fixture   is
    --------  ------------------------------------------------------------------------------
    bench     the bench of `--hanbench-bench`, up; without it the built-in one, small images
    device    each device of the bench in turn, where the test is a conformance test
    dsp       the DSP as its supplier sees it: `await dsp.ask("8.2", body)`
    hub       the Communications Hub
    ppmid     the bench's PPMID; the test is skipped where there is none
    bridge    its first bridge, likewise
    step      the declared steps of a conformance test
    rounds    N of `--hanbench-repeat N`; without it the test is skipped

A test that uses any of them may be a coroutine: it runs on the bench's own loop, in virtual time
where everything is emulated, with or without pytest-asyncio. Nothing of the bench is imported
before the first test that uses it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hil.bench_device import BenchDevice
    from hil.bench_up import BenchUp
    from hil.conformance import Declaration, Steps
    from hil.live import Watcher

BRIDGES = ("bridge-1", "bridge-2", "bridge-3", "bridge-4")
WATCHER: pytest.StashKey[Watcher] = pytest.StashKey()  # who is shown what happens on a bench
_UP = pytest.StashKey["BenchUp"]()
_STEPS = pytest.StashKey["Steps"]()
_DEVICE = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hanbench", "a bench for firmware updates of GB smart-metering devices")
    add = group.addoption
    add("--hanbench-bench", metavar="BENCH.toml", help="the bench (default: the built-in one)")
    add("--hanbench-seed", type=int, metavar="N", help="all chance follows from this number")
    add("--hanbench-evidence", metavar="DIR", help="where each test's evidence goes")
    add("--hanbench-patience", type=float, metavar="S", help="how long what must come is awaited")
    add("--hanbench-take-over", action="store_true", help="let real radios forget their network")
    add(
        "--hanbench-requirement",
        action="append",
        default=[],
        metavar="ID",
        help="only tests of this requirement; may be given again",
    )
    add("--hanbench-kind", action="append", default=[], metavar="KIND", help="only this device")
    add(
        "--hanbench-needs",
        action="append",
        default=[],
        metavar="WHAT",
        help="only tests that need nothing beyond this: device, power, emulated, image-back",
    )
    add("--hanbench-repeat", type=int, default=0, metavar="N", help="up and down N times")
    add("--hanbench-again", help=argparse.SUPPRESS)  # the command line that runs all of it again


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requirement(id, ...): which requirements a test shows")
    config.addinivalue_line("markers", "conformance(declaration): set by hil.conformance")


# -- which tests ---------------------------------------------------------------------------------


def declaration_of(item: pytest.Item | pytest.Metafunc) -> Declaration | None:
    """What a conformance test declares of itself."""
    definition = item.definition if isinstance(item, pytest.Metafunc) else item
    marker = definition.get_closest_marker("conformance")
    return None if marker is None else marker.args[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A conformance test of a device runs for each device of the bench."""
    declared = declaration_of(metafunc)
    if declared is None or "device" not in metafunc.fixturenames:
        return
    file = _file(metafunc.config, declared)
    kinds = metafunc.config.getoption("hanbench_kind")
    ids = [one.id for one in file.devices if not kinds or one.kind in kinds]
    metafunc.parametrize("device", ids, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Coroutines that use a bench run on its loop; what was not asked for is deselected."""
    chosen: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (chosen if _is_chosen(config, item) else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = [_on_bench(item) for item in chosen]


def _is_chosen(config: pytest.Config, item: pytest.Item) -> bool:
    wanted = set(config.getoption("hanbench_requirement"))
    if wanted and not wanted & set(requirements_of(item)):
        return False
    declared = declaration_of(item)
    if declared is None:
        return True
    has = set(config.getoption("hanbench_needs"))
    if has and not set(declared.needs) <= has:
        return False
    # What shows nothing of a device is no test of a kind of device.
    return not config.getoption("hanbench_kind") or "device" in declared.needs


def requirements_of(item: pytest.Item) -> tuple[str, ...]:
    return tuple(str(one) for mark in item.iter_markers("requirement") for one in mark.args)


class BenchFunction(pytest.Function):
    """A test that is a coroutine, on the loop of its bench."""

    def runtest(self) -> None:
        arguments = {name: self.funcargs[name] for name in self._fixtureinfo.argnames}
        bench: Any = self.funcargs["bench"]
        bench.run(self.obj(**arguments))


def _on_bench(item: pytest.Item) -> pytest.Item:
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return item
    definitions = item._fixtureinfo.name2fixturedefs.get("bench")
    if not definitions or definitions[-1].func.__module__ != __name__:
        return item  # somebody else's fixture of this name
    assert item.parent is not None
    mine: pytest.Function = BenchFunction.from_parent(
        item.parent,
        name=item.name,
        callspec=getattr(item, "callspec", None),
        callobj=item.obj,
        fixtureinfo=item._fixtureinfo,
        keywords=item.keywords,
        originalname=item.originalname,
    )
    return mine


# -- the bench -----------------------------------------------------------------------------------


def _file(config: pytest.Config, declared: Declaration | None = None) -> Any:
    """The bench file that is asked for, as the test wants it where that is possible."""
    from hil.bench_file import EMULATED
    from hil.errors import HanbenchError
    from hil.suite_bench import changed, suite_bench

    try:
        path = config.getoption("hanbench_bench")
        file = suite_bench(None if path is None else Path(path))
        file = file.with_options(seed=config.getoption("hanbench_seed"))
        if declared is not None and declared.bench and file.hub.radio == EMULATED:
            file = changed(file, declared.bench)
        return file
    except HanbenchError as error:
        raise pytest.UsageError(str(error)) from None


def _is_shared(config: pytest.Config) -> bool:
    if config.getoption("hanbench_bench", None) is None:
        return False
    return any(radio != "emulated" for radio in _file(config).radios.values())


def _scope(fixture_name: str, config: pytest.Config) -> Any:  # noqa: ARG001 - pytest's own names
    """What is real is taken in once, what is emulated is made anew for every test."""
    return "session" if _is_shared(config) else "function"


@pytest.fixture(scope=_scope)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bench that is up. Its devices are switched off until a test has them join."""
    from hil.bench_up import bench_up
    from hil.errors import HanbenchError

    config = request.config
    shared = _is_shared(config)
    if shared and int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        pytest.fail("a bench with real radios is there once: leave -n out", pytrace=False)
    declared = None if shared else declaration_of(request.node)
    file = _file(config, declared)
    try:
        up = bench_up(
            file,
            _folder(request, tmp_path_factory, shared=shared),
            patience_s=config.getoption("hanbench_patience"),
            take_over=config.getoption("hanbench_take_over"),
            watcher=config.stash.get(WATCHER, None),
        )
    except HanbenchError as error:
        failed = pytest.fail.Exception(str(error), pytrace=False)
        failed.exit_code = error.exit_code  # type: ignore[attr-defined]
        raise failed from None
    try:
        yield up
    finally:
        lost = any(test.outcome == "failed" for test in up.tests)
        wanted = up.tests and (lost or config.getoption("hanbench_evidence"))
        up.close(_again(config) if wanted else None)


def _again(config: pytest.Config) -> str:
    """The command line that runs these tests again."""
    again: str | None = config.getoption("hanbench_again")
    return again or shlex.join(["pytest", *config.invocation_params.args])


def _folder(
    request: pytest.FixtureRequest, temporary: pytest.TempPathFactory, *, shared: bool
) -> Path:
    root = request.config.getoption("hanbench_evidence")
    name = "bench" if shared else re.sub(r"[^\w.=-]+", "-", request.node.name).strip("-")
    if root is None:
        return temporary.mktemp("hanbench") / name
    folder = Path(root) / "tests" / name
    number = 1
    while folder.exists():
        number += 1
        folder = Path(root) / "tests" / f"{name}-{number}"
    return folder


@pytest.fixture
def dsp(bench: BenchUp) -> Any:
    """The DSP, as its supplier sees it."""
    return bench.session


@pytest.fixture
def hub(bench: BenchUp) -> Any:
    """The hub."""
    return bench.session.wiring.hub


@pytest.fixture
def ppmid(bench: BenchUp) -> BenchDevice:
    """The PPMID."""
    return _of_kind(bench, "ppmid")


@pytest.fixture
def bridge(bench: BenchUp) -> BenchDevice:
    """The first bridge."""
    return _of_kind(bench, *BRIDGES)


def _of_kind(bench: BenchUp, *kinds: str) -> BenchDevice:
    found = bench.of_kind(*kinds)
    if found is None:
        pytest.skip(f"the bench has no {kinds[0] if len(kinds) == 1 else 'bridge'}")
    return found


@pytest.fixture
def device(request: pytest.FixtureRequest, bench: BenchUp) -> BenchDevice:
    """One device of the bench; a conformance test runs once for each."""
    name = getattr(request, "param", None)
    found = bench.device if name is None else bench.devices[name]
    request.node.stash[_DEVICE] = found.id
    declared = declaration_of(request.node)
    for claim in () if declared is None else declared.claims:
        if claim not in found.claims:
            pytest.skip(f"{found.id} does not claim {claim}")
    if declared is not None and "image-back" in declared.needs and found.image_back is None:
        pytest.skip(f"{found.id} has no image_back")
    return found


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """How often `hanbench verify --repeat` has a device go up and back."""
    number: int = request.config.getoption("hanbench_repeat")
    if not number:
        pytest.skip("it is run by --repeat N")
    return number


@pytest.fixture
def step(request: pytest.FixtureRequest, bench: BenchUp) -> Steps:
    """The steps the test declares."""
    from hil.conformance import Steps

    up = bench
    declared = declaration_of(request.node)
    test = request.node.name

    def tell(number: int, one: Any) -> str:
        return f"{_inside(request.config, up)}/{up.tell_step(test, number, one)}"

    steps = Steps(() if declared is None else declared.steps, up.session.witness.time_s, tell)
    request.node.stash[_STEPS] = steps
    return steps


def _inside(config: pytest.Config, up: BenchUp) -> str:
    """The folder of a bench as it stands in pointers."""
    root = config.getoption("hanbench_evidence")
    return (up.folder.relative_to(root) if root is not None else Path(up.folder.name)).as_posix()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Whatever a test uses of a bench, a report wants to know which it was."""
    declared = declaration_of(item)
    if declared is not None and "emulated" in declared.needs and _is_shared(item.config):
        pytest.skip("it takes an emulated bench")
    try:
        return (yield)
    finally:
        up: Any = getattr(item, "funcargs", {}).get("bench")
        if type(up).__module__ == "hil.bench_up":
            item.stash[_UP] = up
            item.user_properties.extend(up.properties().items())
            up.forget()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    bench = item.stash.get(_UP, None)
    if bench is not None:
        bench.restore()


# -- what is told --------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """A failing test shows the last messages; a conformance test tells its steps."""
    report = yield
    if call.excinfo is not None:
        report.hanbench_exit = getattr(call.excinfo.value, "exit_code", None)
    up = item.stash.get(_UP, None)
    if up is not None and report.failed and report.when == "call":
        report.sections.append(("hanbench", "\n".join(up.last_words())))
        report.sections.append(("hanbench evidence", str(up.folder)))
    declared = declaration_of(item)
    if (declared or up) and (report.when == "call" or report.outcome != "passed"):
        report.hanbench = json.dumps(_told(item, declared))
        if up is not None and report.when != "teardown":
            from hil.suite_results import test_of

            up.tests.append(test_of(report))
    return report


def _told(item: pytest.Item, declared: Declaration | None) -> dict[str, Any]:
    """What the verdict has of a test; it crosses from worker to controller as text."""
    steps = item.stash.get(_STEPS, None)
    reached = [] if steps is None else steps.all
    up = item.stash.get(_UP, None)
    name = item.nodeid.rpartition("::")[2]
    return {
        "title": name if declared is None else declared.title,
        "requirements": list(requirements_of(item)),
        "claims": [] if declared is None else list(declared.claims),
        "device": item.stash.get(_DEVICE, None),
        "folder": "" if up is None else _inside(item.config, up),
        "repeat": f"{_again(item.config)} -k {shlex.quote(name)}",
        "radios": [] if up is None else [asdict(radio) for radio in up.radios],
        "under_test": [] if up is None else [asdict(one) for one in up.under_test()],
        "steps": [
            {
                "text": text,
                "outcome": reached[at].outcome if reached else "not-run",
                "time_s": reached[at].time_s if reached else 0.0,
                "evidence": reached[at].evidence if reached else [],
            }
            for at, text in enumerate(() if declared is None else declared.steps)
        ],
    }
