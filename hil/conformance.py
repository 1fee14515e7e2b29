"""What a conformance test declares before it runs, and how its steps are gone through.

Source: the Matter test harness (steps and claims as data, so that a report has them whether they
were reached or not); ours otherwise.

    @conformance(
        "MP170-R2",
        title="one 11.4 updates a device",
        steps=("11.4 is accepted", "the device ends the upgrade"),
    )
    async def test_deployed(device, step):
        with step(1):
            ...

    needs        what must be on the bench for it
    -----------  --------------------------------------------------------------------
    device       a device on the air; without it, the DSP alone is asked
    power        a device whose power somebody or something can switch
    emulated     emulated devices: the test meddles with what only an emulation allows
    image-back   a second image, that leads back
    claims       what a device says it can (`dut_options.CLAIMS`); without it, it is not asked
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import pytest

NEEDS = ("device", "power", "emulated", "image-back")

_Test = TypeVar("_Test", bound=Callable[..., Any])
StepOutcome = Literal["passed", "failed", "not-run"]


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a test says of itself. `bench` are keys of a bench file that an emulated bench gets."""

    requirements: tuple[str, ...]
    title: str
    steps: tuple[str, ...]
    claims: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    bench: Mapping[str, Any] = field(default_factory=dict)


def conformance(
    *requirements: str,
    title: str,
    steps: Sequence[str],
    claims: Sequence[str] = (),
    needs: Sequence[str] = (),
    bench: Mapping[str, Any] | None = None,
) -> Callable[[_Test], _Test]:
    """Declare a conformance test."""
    declared = Declaration(
        requirements, title, tuple(steps), tuple(claims), tuple(needs), bench or {}
    )

    def mark(test: _Test) -> _Test:
        marked: _Test = pytest.mark.requirement(*requirements)(
            pytest.mark.conformance(declared)(test)
        )
        return marked

    return mark


@dataclass(slots=True)
class Step:
    """One step, and what became of it."""

    text: str
    outcome: StepOutcome = "not-run"
    time_s: float = 0.0
    evidence: list[str] = field(default_factory=list)
    detail: str = ""


class Steps:
    """The steps of one test; `with step(1):` goes through the first."""

    def __init__(
        self,
        texts: Sequence[str],
        now: Callable[[], float],
        tell: Callable[[int, Step], str],
    ) -> None:
        self.all = [Step(text) for text in texts]
        self._now = now
        self._tell = tell

    @contextmanager
    def __call__(self, number: int) -> Iterator[Step]:
        """Step `number`, from 1; what is raised in it fails it."""
        step = self.all[number - 1]
        began = self._now()
        try:
            yield step
        except BaseException as error:
            step.outcome = "failed"
            step.detail = str(error).partition("\n")[0][:300] or type(error).__name__
            raise
        else:
            step.outcome = "passed"
        finally:
            step.time_s = round(self._now() - began, 6)
            step.evidence.append(self._tell(number, step))
