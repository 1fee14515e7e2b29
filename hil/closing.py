"""The end of a run: what its evidence shows, checked and written down.

Source: DESIGN, "What it promises to the outside": a pointer that dangles is a fail; no variant in
`wan/`, `gbcs/` or any capture; `verdict.json` last, which is the caller's to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hil.air_log import AirKeys
from hil.evidence import Evidence
from hil.judging import variant_texts
from hil.junit import render_junit
from hil.pointers import Resolver
from hil.report import write_report
from hil.report_rows import JUNIT
from hil.scenario import Scenario
from hil.verdict import Requirement, Verdict

_SEEN_BY_HUB_AND_WAN = ("wan/*", "gbcs/*", "*.pcapng")


def close_run(evidence: Evidence, scenario: Scenario, *, wall_s: float, repeat: str) -> Verdict:
    """The verdict, with the report and `junit.xml` beside it."""
    folder = evidence.folder
    verdict = with_evidence(scenario.verdict(wall_s=wall_s, leaks=variant_leaks(folder)), folder)
    scenario.end(verdict.verdict, wall_s=verdict.wall_s)
    keys = AirKeys.from_wireshark(scenario.wiring.keys.wireshark())
    write_report(folder, verdict, keys, repeat=repeat)
    evidence.write(JUNIT, render_junit(verdict))
    return verdict


def with_evidence(verdict: Verdict, folder: Path) -> Verdict:
    """A requirement whose evidence is not there fails, whatever was thought of it."""
    resolver = Resolver(folder)

    def checked(requirement: Requirement) -> Requirement:
        dangling = [one for one in requirement.evidence if resolver.resolve(one) is not None]
        without = requirement.verdict == "pass" and not requirement.evidence
        return replace(requirement, verdict="fail") if dangling or without else requirement

    return replace(verdict, requirements=[checked(one) for one in verdict.requirements])


def variant_leaks(folder: Path) -> list[str]:
    """Pointers to where a PPMIDVariant is seen by who must not tell a bridge from a PPMID."""
    return list(_leaks(folder))


def _leaks(folder: Path) -> Iterator[str]:
    texts = variant_texts()
    wanted = [*texts, *(text.hex().upper().encode() for text in texts)]
    for pattern in _SEEN_BY_HUB_AND_WAN:
        for path in sorted(folder.glob(pattern)):
            octets = path.read_bytes()
            for text in wanted:
                if (offset := octets.find(text)) >= 0:
                    yield f"{path.relative_to(folder).as_posix()}#{offset:#x}"
