"""Which response codes the DSP gave by HTTP while the tests ran; the whole suite must see each.

Source: DESIGN, "Sentences that keep it real" (E-codes are tested through HTTP with signed XML).
`tests/dsp_stub/test_response_codes.py` sees to it that a test names each code; here the port itself
is listened to, so that naming alone is not enough.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

from dsp_stub.http import DspServer
from dsp_stub.response_codes import RESPONSE_CODES

_CODE = re.compile(rb"ResponseCode>([EIW][0-9]+)<")
_answered = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    codes = config.stash[_answered] = set()
    answer, tell = DspServer._handle, DspServer._post

    @functools.wraps(answer)
    async def answering(self: DspServer, request: Any) -> Any:
        response = await answer(self, request)
        codes.update(code.decode() for code in _CODE.findall(response.body))
        return response

    @functools.wraps(tell)
    async def telling(self: DspServer, user: int, delivery: Any) -> bool:
        taken = await tell(self, user, delivery)
        if taken:
            codes.update(code.decode() for code in _CODE.findall(delivery.body))
        return taken

    DspServer._handle = answering  # type: ignore[method-assign]
    DspServer._post = telling  # type: ignore[method-assign]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what it heard; its controller, or a session of one process, judges."""
    config = session.config
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output["answered_codes"] = sorted(config.stash[_answered])
    elif _is_whole(config) and _missing(config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:  # noqa: ARG001 - xdist's names
    output = getattr(node, "workeroutput", {})  # none where the worker crashed
    config = node.config  # type: ignore[attr-defined]
    config.stash[_answered] |= set(output.get("answered_codes", ()))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if hasattr(config, "workerinput") or not _is_whole(config):
        return
    missing = _missing(config)
    heard = len(RESPONSE_CODES) - len(missing)
    terminalreporter.write_line(
        f"the DSP answered {heard} of its {len(RESPONSE_CODES)} response codes by HTTP"
        + (f", never {', '.join(missing)}" if missing else "")
    )


def _is_whole(config: pytest.Config) -> bool:
    """Nobody picked tests, and the sweeps are not all there is."""
    option = config.option
    picked = option.keyword or option.collectonly or option.deselect or option.markexpr == "matrix"
    return bool(config.args == config.getini("testpaths") and not picked)


def _missing(config: pytest.Config) -> list[str]:
    return [code for code in RESPONSE_CODES if code not in config.stash[_answered]]
