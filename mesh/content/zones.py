"""The zone files of a DNS service: ``<zone>.zone`` at the top of its directory.

They are read as strictly as a name server reads them, before anything is published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from dns.exception import DNSException
from dns.name import Name, from_text, root
from dns.rdataclass import IN
from dns.rdataset import Rdataset
from dns.rdatatype import AAAA, NS, SOA, A
from dns.tokenizer import Token, Tokenizer
from dns.transaction import Transaction
from dns.zone import NoNS, NoSOA
from dns.zone import Zone as Records
from dns.zonefile import CNAMEAndOtherData, Reader

from mesh.services.content import Zone

SUFFIX = ".zone"
_WRITTEN = re.compile(r"[a-z0-9_][a-z0-9_-]*(\.[a-z0-9_-]+)*")
DIRECTIVES = ("$TTL", "$ORIGIN")
"""Those that a zone file may contain: $INCLUDE reads files of the node, and NSD has no
$GENERATE."""


class BadZone(Exception):
    """A zone file is refused; with the line, the reason and the cure."""

    def __init__(self, reason: str, cure: str = "correct the file") -> None:
        super().__init__(f"{reason}; {cure}")
        self.reason, self.cure = reason, cure


class _Lines(Tokenizer):
    """Keeps the line in which an entry begins: it is read to its end before it is judged."""

    began = 1

    def get(self, want_leading: bool = False, want_comment: bool = False) -> Token:
        """The next token; an entry begins where leading blanks count."""
        if want_leading:
            self.began = self.line_number
        return super().get(want_leading, want_comment)


def read(path: Path) -> Zone:
    """The zone of a file. Raises :class:`BadZone`, and OSError where it cannot be read."""
    return parsed(path)[0]


def parsed(path: Path) -> tuple[Zone, tuple[str, ...]]:
    """The zone of a file, and its name servers that are names in it without an address, as where
    the dot at the end of a name is missing. Raises as :func:`read`."""
    origin = _origin(path)
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise BadZone("it is not UTF-8") from None
    records = Records(origin, relativize=False)
    _fill(records, origin, _Lines(text, filename=path.name))
    try:
        records.check_origin()
    except NoSOA:
        raise BadZone(f"it has no SOA record for {origin}") from None
    except NoNS:
        raise BadZone(f"it has no NS record for {origin}") from None
    name = path.name.removesuffix(SUFFIX)
    zone = Zone(name, int(records.get_soa().serial), sha256(content).hexdigest())
    return zone, tuple(_without_address(records, origin))


def _without_address(records: Records, origin: Name) -> Iterator[str]:
    for server in sorted(record.target for record in records.find_rdataset(origin, NS)):
        if server.is_subdomain(origin) and not any(
            records.get_rdataset(server, kind) for kind in (A, AAAA)
        ):
            yield server.to_text()


def _origin(path: Path) -> Name:
    """The zone that a file is named for."""
    name = path.name.removesuffix(SUFFIX)
    cure = f"name it <zone>{SUFFIX}, in lower case and without the dot at the end"
    try:
        origin = from_text(name)
    except DNSException:
        raise BadZone("its name is no zone's", cure) from None
    # No escapes, and no name that begins as an option does: NSD's programs get it as a word.
    if not _WRITTEN.fullmatch(name) or f"{name}." != origin.to_text():
        raise BadZone("its name is not as zones are written", cure)
    return origin


def _fill(records: Records, origin: Name, tokens: _Lines) -> None:
    """Reads all records, those of other zones too, which raise :class:`BadZone`."""
    try:
        with records.writer(True) as writer:
            writer.check_put_rdataset(_OneSoa())
            reader = Reader(tokens, IN, writer, allow_directives=DIRECTIVES)
            reader.zone_origin = root
            reader.read()
    except (DNSException, KeyError, ValueError) as error:
        place, name = f"line {tokens.began}", reader.last_name
        if name is not None and not name.is_subdomain(origin):
            raise BadZone(f"{place}: {name} is not in the zone {origin}") from None
        if isinstance(error, CNAMEAndOtherData):
            raise BadZone(f"{place}: {name} has a CNAME and other records") from None
        raise BadZone(f"{place}: {_reason(error, tokens)}") from None


def _reason(error: Exception, tokens: _Lines) -> str:
    """dnspython's reason without its own place."""
    text = str(error).removeprefix(f"{tokens.filename}:{tokens.line_number}: ")
    return text.rstrip(".") or type(error).__name__


class _OneSoa:
    """Refuses a second SOA record, which would replace the first."""

    def __init__(self) -> None:
        self._seen = False

    def __call__(self, _: Transaction, __: Name, records: Rdataset) -> None:
        if records.rdtype != SOA:
            return
        if self._seen:
            raise ValueError("a second SOA record")
        self._seen = True
