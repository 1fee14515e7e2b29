"""Credentials that sign XML, one request, and what the strategies of several tests share."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from hypothesis import strategies as st

from dsp_stub.requests import ReadInventory, Request, RequestId, build_request
from gbcs.certificates import Certificate, Role
from gbcs.protection import KeyUse
from gbcs.smki import ACB_EUI64, SUPPLIER_EUI64, Credential, Smki
from hil.seeds import Seeds

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PPMID = 0x00DB1234567890A4
ROLES = {SUPPLIER_EUI64: Role.SUPPLIER, ACB_EUI64: Role.ACCESS_CONTROL_BROKER}


@cache
def credential(eui64: int = SUPPLIER_EUI64, use: KeyUse = KeyUse.XML_SIGNATURE) -> Credential:
    seeds = Seeds(1)
    smki = Smki(lambda name: seeds.stream(name).getrandbits, EPOCH)
    return smki.organisation(eui64, ROLES[eui64], use)


def find(serial: int) -> Certificate | None:
    """The bench's two signers by serial number."""
    for eui64 in ROLES:
        if (certificate := credential(eui64).certificate).serial == serial:
            return certificate
    return None


def request() -> Request:
    request_id = RequestId(SUPPLIER_EUI64, ACB_EUI64, 1000)
    return Request(request_id, 8, "8.2", "8.2", ReadInventory(device_id=PPMID))


def document() -> bytes:
    return build_request(request())


EUI64S = st.integers(0, 2**64 - 1)
REQUEST_IDS = st.builds(RequestId, EUI64S, EUI64S, EUI64S)
DIGITS = "0123456789"
SERVICES = ("8.2", "8.11", "11.2", "11.4", "12.2")


def texts(least: int, most: int) -> st.SearchStrategy[str]:
    """What XML can have and xs:token leaves as it is."""
    characters = st.characters(
        min_codepoint=0x20, exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"
    )
    return st.text(characters, min_size=least, max_size=most).filter(
        lambda text: text == " ".join(text.split(" ")).strip(" ") and "  " not in text
    )


VERSIONS = st.text("0123456789ABCDEF", min_size=1, max_size=8)
MPXNS = st.text(DIGITS, min_size=1, max_size=13)
UPRNS = st.integers(1, 10**12 - 1).map(str)
DEVICE_TYPES = st.sampled_from(("ESME", "GSME", "GPF", "CHF", "HCALCS", "PPMID", "IHD", "CAD"))
VARIANTS = st.sampled_from(("PPMID", *(f"AltHAN Bridge {number}" for number in range(1, 5))))
ESME_VARIANTS = st.text("ABCDEFG", min_size=1, max_size=4)
