"""Which services make sense for an Alt HAN bridge: one table, asked by every service.

Source: MP170, annex B, 3.8.109.4 (8.7.1) and 3.8.110.4 (8.7.2), annex C ("shall not be allowed to
submit those such as SRV 8.7.2 and SRV 8.8.2"): a bridge is a PPMID to the HAN, and one whose
PPMIDVariant is not "PPMID" to the inventory. It is joined with no other device, and as any PPMID
it holds no user's credentials.

    service                        as target   as other device, or in a list
    -----------------------------  ----------  -----------------------------------------
    8.2 8.3 8.4 12.2 8.11 11.4     allowed     allowed: the device they name
    8.12.1                         allowed     allowed: it moves with the log
    11.2 6.24.1                    allowed     names no other
    8.9                            allowed     names no other
    8.7.1                          E11         E080702
    8.7.2                          E080721     E080721; allowed if the text is read literally
    8.8.1                          E11         E080801
    8.8.2                          E080821     E080821
    11.1                           E11         E11, if its list has nothing but PPMIDs
    11.3 6.15.1 6.15.2 6.17 6.24.2 E11         name no other

The legal text of 8.7.2 speaks of the target alone, and that of 8.8.2 of neither: option
`bridge_as_other_device`, and docs/open-points.md.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from dsp_stub.smi import DeviceType, PpmidVariant, SmiDevice

Reading = Literal["intent", "literal"]
NOT_FOR_THE_TYPE = "E11"


class BridgeRule(NamedTuple):
    """The code a service is refused with, None where it is allowed. `other` is that of the device
    a request names beside its target; `literal` takes its place if the text is read literally."""

    target: str | None = None
    other: str | None = None
    literal: str | None = None


_ALLOWED = BridgeRule()
_NO_USER_CELL = BridgeRule(NOT_FOR_THE_TYPE)
_RULES = {
    "6.15.1": _NO_USER_CELL,
    "6.15.2": _NO_USER_CELL,
    "6.17": _NO_USER_CELL,
    "6.24.1": _ALLOWED,
    "6.24.2": _NO_USER_CELL,
    "8.2": _ALLOWED,
    "8.3": _ALLOWED,
    "8.4": _ALLOWED,
    "8.7.1": BridgeRule(NOT_FOR_THE_TYPE, "E080702", "E080702"),
    "8.7.2": BridgeRule("E080721", "E080721", None),
    "8.8.1": BridgeRule(NOT_FOR_THE_TYPE, "E080801", "E080801"),
    "8.8.2": BridgeRule("E080821", "E080821", "E080821"),
    "8.9": _ALLOWED,
    "8.11": _ALLOWED,
    "8.12.1": _ALLOWED,
    "11.1": BridgeRule(NOT_FOR_THE_TYPE, NOT_FOR_THE_TYPE, NOT_FOR_THE_TYPE),
    "11.2": _ALLOWED,
    "11.3": _NO_USER_CELL,
    "11.4": _ALLOWED,
    "12.2": _ALLOWED,
}


def is_bridge(device: SmiDevice) -> bool:
    """A PPMID whose row is from before the variant existed is no bridge."""
    return device.device_type is DeviceType.PPMID and device.ppmid_variant not in (
        None,
        PpmidVariant.PPMID,
    )


def srv_for_bridge(
    service: str, *, as_other: bool = False, reading: Reading = "intent"
) -> str | None:
    """The code a service for a bridge is refused with; None where it is allowed. A service that is
    not in the table has none for a bridge."""
    rule = _RULES.get(service, BridgeRule(*3 * (NOT_FOR_THE_TYPE,)))
    if not as_other:
        return rule.target
    return rule.literal if reading == "literal" else rule.other


SERVICES = tuple(_RULES)
