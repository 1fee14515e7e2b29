"""What each response code means here, and who says so.

Source: DUIS XSD V5.4 has the codes and no meanings. Those of "MP170" are in annex B of MP170, those
of "public" in what is public of DUIS; "ours" is a default of this stub where only the name is
public, and an open point (docs/open-points.md). The codes of the family E40 to E71 and E100 are
options (`dsp_stub.options.Codes`), and stand here with their defaults.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Origin = Literal["MP170", "public", "ours"]


class Meaning(NamedTuple):
    """`service` is "any" for a code of every service."""

    service: str
    meaning: str
    origin: Origin


RESPONSE_CODES: dict[str, Meaning] = {
    "I0": Meaning("any", "success, with data or a response of the device", "public"),
    "I99": Meaning("any", "accepted; or success of a service without data", "public"),
    "E1": Meaning("any", "the originator is no user", "public"),
    "E2": Meaning("any", "the user's role may not send this request", "public"),
    "E3": Meaning("any", "the user is suspended", "public"),
    "E4": Meaning("any", "the user is not responsible for the device", "MP170"),
    "E5": Meaning("any", "the request does not fit the status of the device", "MP170"),
    "E11": Meaning("any", "the request is not for that type of device", "public"),
    "E12": Meaning("any", "the command variant is not one of the request", "public"),
    "E13": Meaning("any", "the request was posted to another service than its variant's", "public"),
    "E17": Meaning("any", "there is no command that could be handed back", "public"),
    "E19": Meaning("any", "the device is not in the inventory", "public"),
    "E20": Meaning("any", "the device cannot be communicated with", "public"),
    "E21": Meaning("any", "the device did not respond", "public"),
    "E40": Meaning("any", "the XML signature or its certificate does not count", "ours"),
    "E42": Meaning("any", "the RequestID was accepted before", "ours"),
    "E48": Meaning("any", "what was signed is not the pre-command of this request", "ours"),
    "E49": Meaning("any", "the pre-command is not signed by the user", "ours"),
    "E100": Meaning("any", "the schema does not allow it, or it is no XML", "ours"),
    "E061501": Meaning("6.15.1", "RemotePartyRole is not the user's own", "ours"),
    "E061504": Meaning("6.15.1", "a certificate is not of the role and use it is for", "ours"),
    "E061505": Meaning("6.15.1", "a certificate is of somebody else", "ours"),
    "E061506": Meaning("6.15.1", "the certification path does not lead to them", "ours"),
    "E061507": Meaning("6.15.1", "no certificate, or one for top-ups of no supplier", "ours"),
    "E061508": Meaning("6.15.2", "the certificate is not one of a device", "ours"),
    "E061509": Meaning("6.15.2", "the certificate is of another device", "ours"),
    "E062401": Meaning("6.24.1", "a role is asked for twice", "ours"),
    "E080201": Meaning("8.2", "the request does not name one home", "MP170"),
    "E080202": Meaning("8.2", "the home has no devices", "MP170"),
    "E080301": Meaning("8.3", "the device is of a type that 8.3 does not decommission", "ours"),
    "E080302": Meaning("8.3", "the device cannot be decommissioned from its status", "ours"),
    "E080405": Meaning("8.4", "the status does not apply to the type of device", "MP170"),
    "E080406": Meaning("8.4", "the device cannot go from its status to this one", "MP170"),
    "E080407": Meaning("8.4", "the device is not in the inventory, or not Pending", "MP170"),
    "E080408": Meaning("8.4", "there is nothing to update", "MP170"),
    "E080409": Meaning("8.4", "what would result is not on the CPL", "MP170"),
    "E080410": Meaning("8.4", "the user may not update that", "MP170"),
    "E080411": Meaning("8.4", "the status does not apply to the type of device (CH)", "MP170"),
    "E080412": Meaning("8.4", "the device cannot go from its status to this one (CH)", "MP170"),
    "E080413": Meaning("8.4", "the metering point does not fit", "MP170"),
    "E080414": Meaning("8.4", "the status of the device forbids it", "MP170"),
    "E080415": Meaning("8.4", "the user is not the registered supplier", "MP170"),
    "E080702": Meaning("8.7.1", "the other device's type is not valid for this join", "MP170"),
    "E080721": Meaning("8.7.2", "a device's type is not valid for this join", "MP170"),
    "E080722": Meaning("8.7.2", "the user's role may not join this type", "MP170"),
    "E080723": Meaning("8.7.2", "the user may not join this GSME and GPF", "MP170"),
    "E080801": Meaning("8.8.1", "the other device's type is not valid for this unjoin", "ours"),
    "E080821": Meaning("8.8.2", "a device's type is not valid for this unjoin", "ours"),
    "E080822": Meaning("8.8.2", "the user's role may not unjoin this type", "ours"),
    "E080901": Meaning("8.9", "security details of a device that is no CHF", "ours"),
    "E081101": Meaning("8.11", "Add: the device is unknown, or not Pending", "ours"),
    "E081102": Meaning("8.11", "Remove: the device is not in the log of this hub", "ours"),
    "E081104": Meaning("8.11", "the device is of a type that is in no log", "ours"),
    "E081105": Meaning("8.11", "the details of an Add are missing, or there in a Remove", "ours"),
    "E081106": Meaning("8.11", "a metering point the device cannot have", "ours"),
    "E081107": Meaning("8.11", "a metering point is of no such home, or not the user's", "ours"),
    "E081109": Meaning("8.11", "not in the installation validity period, or of its GBCS", "ours"),
    "E081110": Meaning("8.11", "the model that would result is not on the CPL (MP202)", "ours"),
    "E081111": Meaning("8.11", "the log, the premises or the six Type 1 places are full", "ours"),
    "E081202": Meaning("8.12.1", "the old hub is no CHF of the inventory", "ours"),
    "E081204": Meaning("8.12.1", "the old hub never told its device log", "ours"),
    "E081205": Meaning("8.12.1", "the new hub is the old one, or has devices", "ours"),
    "E110101": Meaning("11.1", "hash, version or status are not on the CPL", "ours"),
    "E110102": Meaning("11.1", "the file, its header or its version is wrong", "ours"),
    "E110103": Meaning("11.1", "no device of the list can be updated", "ours"),
    "E110105": Meaning("11.1", "the file is too large", "ours"),
    "E110106": Meaning("11.1", "the authorising signature is missing, or not the user's", "ours"),
    "W110101": Meaning("11.1", "some devices of the list cannot be updated", "ours"),
    "E110401": Meaning("11.4", "hash, version or status are not on the CPL", "ours"),
    "E110402": Meaning("11.4", "the file, its header or its version is wrong", "ours"),
    "E110403": Meaning("11.4", "no device of the list can be updated", "ours"),
    "E110405": Meaning("11.4", "the file is too large", "ours"),
    "W110401": Meaning("11.4", "some devices of the list cannot be updated", "ours"),
    "E120201": Meaning("12.2", "the device is in the inventory already", "MP170"),
    "E120203": Meaning("12.2", "the product is not on the CPL", "MP170"),
    "E120204": Meaning("12.2", "an item is missing, or does not belong to the type", "MP170"),
    "E120207": Meaning("12.2", "a GPF is not pre-notified", "MP170"),
}


def meaning(code: str) -> str | None:
    """What a code means here, for a reader; None for one this stub does not answer."""
    found = RESPONSE_CODES.get(code)
    return None if found is None else found.meaning
