"""Who may use the DSP: DUIS users with their role, their XML signing certificate, their callback.

Source: DUIS, "User Role" and "Receive Response Service"; a user is known by the EUI-64 in its
RequestIDs, its certificate by the serial number in a signature. RFC 5280 6.3 for revocation.

Whether a certificate still counts is asked of the SMKI's authorities, where the DSP has them. One
that none of them issued counts because somebody made it a user's: its own times are all there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dsp_stub.errors import DspValueError
from gbcs.certificates import Certificate
from gbcs.chain import Authorities, ChainVerdict
from gbcs.protection import KeyUse


class UserRole(StrEnum):
    IMPORT_SUPPLIER = "IS"
    EXPORT_SUPPLIER = "ES"
    GAS_SUPPLIER = "GS"
    REGISTERED_SUPPLIER_AGENT = "RSA"
    ELECTRICITY_DISTRIBUTOR = "ED"
    GAS_TRANSPORTER = "GT"
    OTHER_USER = "OU"


SUPPLIERS = frozenset({UserRole.IMPORT_SUPPLIER, UserRole.GAS_SUPPLIER})
EVERYBODY = frozenset(UserRole)


@dataclass(frozen=True, slots=True)
class User:
    """One user. `callback` is the URL its responses and alerts are posted to, None for nowhere.
    One that is suspended is refused what it asks for, and is still told of its devices."""

    eui64: int
    role: UserRole
    certificate: Certificate
    callback: str | None = None
    is_suspended: bool = False

    def __post_init__(self) -> None:
        if self.certificate.use is not KeyUse.XML_SIGNATURE:
            raise DspValueError(f"the certificate of user {self.eui64:016X} does not sign XML")
        if self.certificate.eui64 != self.eui64:
            raise DspValueError(
                f"the certificate of user {self.eui64:016X} is that of "
                f"{self.certificate.eui64 or 0:016X}"
            )


class Users:
    """The users of one DSP, and the authorities that certify them."""

    def __init__(self, users: Iterable[User], authorities: Authorities | None = None) -> None:
        self._authorities = authorities
        self._by_eui64: dict[int, User] = {}
        for user in users:
            if user.eui64 in self._by_eui64:
                raise DspValueError(f"user {user.eui64:016X} is there twice")
            self._by_eui64[user.eui64] = user
        self._by_serial = {user.certificate.serial: user for user in self._by_eui64.values()}
        if len(self._by_serial) != len(self._by_eui64):
            raise DspValueError("two users have certificates with one serial number")

    @property
    def eui64s(self) -> tuple[int, ...]:
        return tuple(self._by_eui64)

    def get(self, eui64: int) -> User | None:
        return self._by_eui64.get(eui64)

    def certificate(self, serial: int) -> Certificate | None:
        """The XML signing certificate with this serial number."""
        user = self._by_serial.get(serial)
        return None if user is None else user.certificate

    def problem(self, certificate: Certificate, now_utc: datetime | None) -> str | None:
        """Why a certificate does not count any more, None when it does. Without a time, times are
        not looked at."""
        if self._authorities is not None:
            verdict = self._authorities.judge(certificate, now_utc)
        elif now_utc is not None and not certificate.is_valid_at(now_utc):
            verdict = ChainVerdict.NOT_VALID_NOW
        else:
            return None
        counts = verdict in (ChainVerdict.VALID, ChainVerdict.NO_ISSUER)
        return None if counts else str(verdict)
