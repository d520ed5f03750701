"""Health check: an HTTP request over TLS, with a certificate for the name."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mesh.foreign import printable
from mesh.services.checks.check import Port, Target, Whole, why
from mesh.services.checks.connection import Deadline, connected
from mesh.services.checks.request import HostName, RequestCheck

USUAL = 443
DAY = 86400.0
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which Python has no name for
_HOSTNAME_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH
_ADDRESS_MISMATCH = 64  # X509_V_ERR_IP_ADDRESS_MISMATCH
_NAMES = 3  # how many names of a certificate a reason has

Certificates = Annotated[
    str,
    StringConstraints(
        pattern=r"^\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s-]+-----END CERTIFICATE-----\s*$",
        max_length=16 * 1024,
    ),
]
"""Certificates as PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpsCheck(RequestCheck):
    """Healthy if the server shows a certificate for the host that is trusted, and answers as for
    ``http``. The certificate's dates do not count: a client can go on where it has ended, none can
    where the service is down."""

    kind: Literal["https"] = "https"
    """The same as ``http`` over TLS, with a certificate that is trusted for ``host``, whatever its
    dates."""
    port: Port = USUAL
    """The port that is asked."""
    host: HostName
    """The host name that is asked for, by SNI and in the request, and for which the certificate has
    to be."""
    ca: Certificates | None = None
    """Certificates of the authorities that are trusted, as PEM; not set, those of the node's
    system (``ca-certificates``); a twin does not take it over, since a stand-in of the lab has a
    certificate of the lab's own authority."""
    # As the stack file writes it: a dataclass has one name for both.
    daysLeft: Annotated[Whole, Field(ge=0, le=365)] = 21  # noqa: N815
    """A certificate that ends in fewer days gives a warning."""

    def problem(self, target: Target) -> str:
        """Sends one request; why certificate or answer are not good."""
        deadline = Deadline(self.within)
        try:
            with self._secured(target, deadline) as stream:
                return self.asked(stream, USUAL, target, deadline)
        except ssl.SSLCertVerificationError as error:
            return self._untrusted(error, target, deadline)
        except ssl.SSLError as error:
            return _of_tls(error)
        except OSError as error:
            return why(error, self.within)

    def warning(self, target: Target) -> str:
        """That the certificate has ended, will soon, or is not valid yet."""
        try:
            with self._secured(target, Deadline(self.within)) as stream:
                shown = stream.getpeercert() or {}
        except OSError:
            return ""  # which is the service's problem
        now = time.time()
        begins, ends = (
            ssl.cert_time_to_seconds(str(shown[name])) if name in shown else now
            for name in ("notBefore", "notAfter")
        )
        if begins > now:
            return f"the certificate is valid from {_date(begins)} on"
        if ends < now:
            return f"the certificate ended on {_date(ends)}"
        left = (ends - now) / DAY
        if left < self.daysLeft:
            return f"the certificate ends in {left:.0f} days, on {_date(ends)}"
        return ""

    def _secured(self, target: Target, deadline: Deadline, named: bool = True) -> ssl.SSLSocket:
        connection = connected(target, self.port, deadline)
        try:
            connection.settimeout(deadline.left())
            return trusting(self.ca, named).wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise

    def _untrusted(
        self, error: ssl.SSLCertVerificationError, target: Target, deadline: Deadline
    ) -> str:
        """Why a certificate was refused; for another name, which one it is for."""
        if error.verify_code not in (_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH):
            return f"the certificate is not trusted: {printable(error.verify_message)}"
        try:
            with self._secured(target, deadline, named=False) as stream:
                shown = stream.getpeercert() or {}
        except OSError:
            shown = {}
        named = [str(each[1]) for each in shown.get("subjectAltName", ()) if len(each) == 2]
        names = " and ".join(printable(name)[:60] for name in named[:_NAMES])
        more = f" and {len(named) - _NAMES} more" if len(named) > _NAMES else ""
        return f"the certificate is for {names or 'another name'}{more}, not {self.host}"


@lru_cache(maxsize=64)
def trusting(ca: str | None, named: bool = True) -> ssl.SSLContext:
    """What trusts these authorities, and with ``named`` only certificates for the host; SSLError
    where they cannot be read."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = named
    made.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    if ca is None:
        made.set_default_verify_paths()
    else:
        made.load_verify_locations(cadata=ca)
    return made


def _of_tls(error: ssl.SSLError) -> str:
    """Why there is no TLS, in words."""
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return "the answer is not TLS"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "closed without an answer"
    return f"TLS fails: {printable((error.reason or str(error)).replace('_', ' ').lower())[:80]}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
