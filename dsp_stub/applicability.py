"""The Technical Specification Applicability Tables: what may be installed and maintained, and when.

Source: CPL guidance, 3 (IVP, MVP, Applicability Period); SEC Schedule 11, of which only the line of
SECMP0007 is in the mission (002: the versions that go together, from the November 2021 release).

    period                        what it allows                               asked at
    ----------------------------  -------------------------------------------  ------------------
    installation validity (IVP)   a device to be installed                     8.11 Add
    maintenance validity (MVP)    firmware to be sent, a device to stay        11.1, 11.4, report
    applicability of a GBCS       both, with that version of GBCS              all three

A period holds on its first and on its last day; one without an end is open. A DSP whose tables are
empty has the built-in line. What no table has is accepted: no rule is broken that is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from dsp_stub.errors import DspValueError
from dsp_stub.smi import MAX_SMETS_CHTS_CHARACTERS, is_gbcs_version
from dsp_stub.store import Store

MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Period:
    """From a day to a day, both within; without an end, for ever."""

    start: date
    end: date | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end < self.start:
            raise DspValueError(f"a period cannot end on {self.end} and start on {self.start}")

    def __contains__(self, day: date) -> bool:
        return self.start <= day and (self.end is None or day <= self.end)

    def __str__(self) -> str:
        return f"{self.start} to {self.end or 'further notice'}"


@dataclass(frozen=True, slots=True)
class Specification:
    """One version of a technical specification, as the CPL names it, such as "PPMIDTS V4.4"."""

    version: str
    installation: Period
    maintenance: Period
    gbcs: tuple[tuple[str, Period], ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.version) <= MAX_SMETS_CHTS_CHARACTERS or not self.version.isprintable():
            raise DspValueError(f'{self.version!r} is no specification such as "PPMIDTS V4.4"')
        versions = [version for version, _ in self.gbcs]
        if not versions:
            raise DspValueError(f"{self.version} goes with no version of GBCS")
        for version in versions:
            if not is_gbcs_version(version):
                raise DspValueError(f'gbcs_version {version!r} is not one such as "4.1"')
        if len(set(versions)) != len(versions):
            raise DspValueError(f"{self.version} has a version of GBCS twice")

    def gbcs_period(self, gbcs_version: str | None) -> Period | None:
        return next((period for version, period in self.gbcs if version == gbcs_version), None)


_RELEASE = Period(date(2021, 11, 4))
BUILT_IN: Final = tuple(
    Specification(version, _RELEASE, _RELEASE, (("4.1", _RELEASE),))
    for version in (
        "ESMETS V5.1",
        "PPMIDTS V4.4",
        "HCALCSTS V5.1",
        "CHTS V1.5",
        # Of no device, and in the same line.
        "DUIS V5.0",
        "MMC V5.0",
    )
)


_SELECT = "SELECT version, ivp_start, ivp_end, mvp_start, mvp_end FROM specifications"


class Applicability:
    """The tables of one DSP."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> tuple[Specification, ...]:
        rows = self._store.connection.execute(f"{_SELECT} ORDER BY rowid").fetchall()
        return tuple(map(self._specification, rows)) or BUILT_IN

    def get(self, version: str | None) -> Specification | None:
        connection = self._store.connection
        row = connection.execute(f"{_SELECT} WHERE version = ?", (version,)).fetchone()
        if row is not None:
            return self._specification(row)
        if connection.execute("SELECT 1 FROM specifications").fetchone() is not None:
            return None
        return next((one for one in BUILT_IN if one.version == version), None)

    def replace(self, specifications: Iterable[Specification]) -> None:
        """Other tables in the place of those that are there."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM gbcs_applicability")
            connection.execute("DELETE FROM specifications")
            seen: set[str] = set()
            for one in specifications:
                if one.version in seen:
                    raise DspValueError(f"{one.version} is there twice")
                seen.add(one.version)
                periods = (one.installation, one.maintenance)
                connection.execute(
                    "INSERT INTO specifications VALUES (?, ?, ?, ?, ?)",
                    (one.version, *(text for period in periods for text in _texts(period))),
                )
                connection.executemany(
                    "INSERT INTO gbcs_applicability VALUES (?, ?, ?, ?)",
                    [(one.version, version, *_texts(period)) for version, period in one.gbcs],
                )
            if not seen:
                raise DspValueError("tables without a specification say nothing")

    def _specification(self, row: tuple[str, str, str | None, str, str | None]) -> Specification:
        version, ivp_start, ivp_end, mvp_start, mvp_end = row
        gbcs = self._store.connection.execute(
            "SELECT gbcs_version, start_on, end_on FROM gbcs_applicability "
            "WHERE specification = ? ORDER BY rowid",
            (version,),
        ).fetchall()
        return Specification(
            version,
            _period(ivp_start, ivp_end),
            _period(mvp_start, mvp_end),
            tuple((gbcs_version, _period(start, end)) for gbcs_version, start, end in gbcs),
        )

    # -- what they say ---------------------------------------------------------------------

    def require_fit(self, smets_chts_version: str, gbcs_version: str) -> None:
        """Refuse versions that do not go together, naming both."""
        found = self.get(smets_chts_version)
        if found is not None and found.gbcs_period(gbcs_version) is None:
            fits = ", ".join(version for version, _ in found.gbcs)
            raise DspValueError(
                f"{smets_chts_version} does not go with GBCS {gbcs_version}, it goes with {fits}"
            )

    def why_not_installed(
        self, smets_chts_version: str | None, gbcs_version: str | None, today: date
    ) -> str | None:
        """Why a device of these versions may not be installed today; None when it may."""
        return self._why_not(smets_chts_version, gbcs_version, today, "installation")

    def why_not_maintained(
        self, smets_chts_version: str | None, gbcs_version: str | None, today: date
    ) -> str | None:
        """Why firmware of these versions may not be sent today, nor run; None when it may."""
        return self._why_not(smets_chts_version, gbcs_version, today, "maintenance")

    def _why_not(
        self, smets_chts_version: str | None, gbcs_version: str | None, today: date, name: str
    ) -> str | None:
        found = self.get(smets_chts_version)
        if found is None:
            return None
        period = found.installation if name == "installation" else found.maintenance
        if today not in period:
            return f"the {name} validity period of {found.version} is {period}, not {today}"
        gbcs = found.gbcs_period(gbcs_version)
        if gbcs is None:
            return f"{found.version} does not go with GBCS {gbcs_version}"
        if today not in gbcs:
            return (
                f"the applicability period of GBCS {gbcs_version} with {found.version} is {gbcs}, "
                f"not {today}"
            )
        return None


def _texts(period: Period) -> tuple[str, str | None]:
    return period.start.isoformat(), None if period.end is None else period.end.isoformat()


def _period(start: str, end: str | None) -> Period:
    return Period(date.fromisoformat(start), None if end is None else date.fromisoformat(end))
