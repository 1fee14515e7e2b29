"""When a command is to be carried out: as DUIS writes it, as GBCS does.

Source: DUIS XSD V5.4 (ExecutionDateTime) and its published templates, in which 3000-12-31 takes a
command for later back; GBCS, where 99991231235959Z does.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dsp_stub.fields import time_from_xml, time_to_xml

_NEVER_IN_DUIS = datetime(3000, 12, 31, tzinfo=UTC)
_NEVER_IN_GBCS = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def execution_time(text: str | None) -> datetime | None:
    """For GBCS, to the second. Raises DuisError."""
    if text is None:
        return None
    moment = time_from_xml(text, "ExecutionDateTime").replace(microsecond=0)
    return _NEVER_IN_GBCS if moment == _NEVER_IN_DUIS else moment


def execution_text(moment: datetime | None) -> str | None:
    """For DUIS."""
    if moment is None:
        return None
    return time_to_xml(_NEVER_IN_DUIS if moment == _NEVER_IN_GBCS else moment)
