"""What clients get from nginx and NSD as nodes set them up: the real daemons, by their own units'
commands, with the units' users."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest

from mesh.agent.daemons import dns as dns_kind
from mesh.agent.daemons import web as web_kind
from mesh.lab import namespaces
from mesh.netns import inside
from mesh.plan import Plan, make
from mesh.render import File, NodeFiles, node_files, placeholder_facts
from mesh.services.content import Content, Zone
from mesh.spec import load
from tests.kit.machine import Machine
from tests.kit.namespaces import spaces
from tests.kit.stacks import ROOT, prod
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.image
NODE = "lax-vultr-1"
BLOG, PAGES, ZONE = "192.30.120.100", "192.30.120.101", "192.30.120.102"
BLOG6, ZONE6 = "2620:71:4000::100", "2620:71:4000::102"
LONGEST = ".".join(["x" * 63] * 3 + ["y" * 61])
SERVICES: dict[str, Any] = {
    "blog": {
        "kind": "web", "content": "site", "names": ["example.net", "www.example.net", LONGEST],
        "addresses": {"ipv4": BLOG, "ipv6": BLOG6},
    },
    "pages": {"kind": "web", "content": "site", "addresses": {"ipv4": PAGES}},
    "zone": {"kind": "dns", "content": "zones", "addresses": {"ipv4": ZONE, "ipv6": ZONE6}},
}  # fmt: skip
LONG = "".join(f'big IN TXT "{number:03} {"x" * 200}"\n' for number in range(8))
RECORDS = (
    "$ORIGIN example.net.\n$TTL 300\n"
    "@ IN SOA ns1 hostmaster {serial} 3600 600 1209600 300\n@ IN NS ns1\n"
    f"ns1 IN A {ZONE}\nwww IN A {BLOG}\n{LONG}"
)
MANY = "".join(f"<p>line {number} of a page that compresses well</p>\n" for number in range(200))
CONTENT = {
    "blog/first/index.html": f"<h1>a blog</h1>\n{MANY}",
    "blog/first/about.txt": "é\n",
    "blog/first/feed/index.html": "feed\n",
    "blog/first/empty/file.bin": "bin\n",
    "blog/first/404.html": "not here\n",
    "blog/first/.git/config": "secret\n",
    "blog/first/.well-known/security.txt": "Contact: mailto:noc@example.net\n",
    "pages/first/index.html": "pages\n",
    "zone/1/example.net.zone": RECORDS.format(serial=1),
    "zone/2/example.net.zone": RECORDS.format(serial=2),
    "zone/3/example.net.zone": RECORDS.format(serial=3),
    "zone/3/example.org.zone": RECORDS.format(serial=3).replace("example.net", "example.org"),
}
CONTENTS = "/var/lib/anycast-mesh/content"


def planned(zones: tuple[str, ...] = ("example.net",)) -> Plan:
    values = prod() | {"services": SERVICES}
    contents = {
        "blog": Content("a" * 64, 1, 1),
        "pages": Content("b" * 64, 1, 1),
        "zone": Content("c" * 64, 1, 1, tuple(Zone(name, 1) for name in zones)),
    }
    return make(load("prod", values, ROOT).spec, contents)


def files_of(plan: Plan) -> NodeFiles:
    return node_files(plan, placeholder_facts(plan))[NODE]


@dataclass(frozen=True)
class Served:
    """A node whose addresses are on its loopback interface."""

    space: str
    machine: Machine

    def start(self, kind: str, service: str, user: str) -> None:
        """Starts a daemon as its unit does, with its user and its folder."""
        template = self.machine.path(f"/etc/systemd/system/anycast-mesh-{kind}@.service")
        lines = template.read_text().replace("%i", service).splitlines()
        (command,) = [line for line in lines if line.startswith("ExecStart=")]
        folder = f"/run/anycast-mesh/{kind}/{service}"
        self.machine.output("mkdir", "-p", folder)
        self.machine.output("chown", f"{user}:", folder)
        privileges = (
            f"--reuid={user} --regid={user} --clear-groups "
            "--inh-caps=+net_bind_service --ambient-caps=+net_bind_service"
        )
        words = command.removeprefix("ExecStart=")
        subprocess.Popen(
            [*self.machine.enter, "sh", "-c", f"exec setpriv {privileges} {words}"],
            stdout=subprocess.DEVNULL, stderr=(self.machine.folder / f"{service}.log").open("w"),
        )  # fmt: skip

    def log(self, service: str) -> str:
        """What a daemon has written to the journal."""
        return (self.machine.folder / f"{service}.log").read_text()

    def reload(self, kind: str, service: str) -> None:
        """Reloads a daemon as its unit does."""
        template = self.machine.path(f"/etc/systemd/system/anycast-mesh-{kind}@.service")
        pid = self.machine.path(f"/run/anycast-mesh/{kind}/{service}/nginx.pid")
        for line in template.read_text().replace("%i", service).splitlines():
            if line.startswith("ExecReload="):
                words = line.removeprefix("ExecReload=").split()
                own = [pid.read_text().strip() if word == "$MAINPID" else word for word in words]
                self.machine.output(*own)

    def point(self, service: str, content: str) -> None:
        """Swaps the content of a service, as the agent does."""
        beside = f"{CONTENTS}/{service}/.current"
        self.machine.output("ln", "-sfn", content, beside)
        self.machine.output("mv", "-T", beside, f"{CONTENTS}/{service}/current")

    def curl(self, address: str, path: str = "/", *more: str) -> str:
        """An answer with its header, as a client gets it."""
        host = f"[{address}]" if ":" in address else address
        command = ("curl", "-gsi", "--max-time", "20", *more, f"http://{host}{path}")
        return self.machine.output(*command, check=False).replace("\r\n", "\n")

    def ask(self, address: str, name: str, what: str, *, tcp: bool = False, **more: Any) -> Any:
        """The answer to a question of DNS, which asks for the server's NSID."""
        nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
        query = dns.message.make_query(name, what, use_edns=0, payload=4096, options=[nsid], **more)
        by = dns.query.tcp if tcp else dns.query.udp
        return inside(self.space, partial(by, query, address, timeout=PATIENCE))

    def serial(self, zone: str = "example.net") -> int:
        """The serial of a zone that is served; 0 for none."""
        answer = self.ask(ZONE, zone, "SOA").answer
        return answer[0][0].serial if answer else 0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with spaces("kinds", "node") as (space,):
        addresses = [f"address add {each} dev lo" for each in (BLOG, PAGES, ZONE)]
        addresses += [f"address add {each}/128 dev lo nodad" for each in (BLOG6, ZONE6)]
        namespaces.ip(["link set lo up", *addresses], space)
        machine = Machine(tmp_path_factory.mktemp("kinds"), space)
        try:
            served = Served(space, machine)
            machine.put(files_of(planned()).files)
            for service in ("blog", "pages"):
                served.start("web", service, "www-data")
            served.start("dns", "zone", "nsd")
            yield served
        finally:
            machine.close()


@pytest.fixture(scope="module")
def full(node: Served) -> Served:
    """The same with content."""
    for path, content in CONTENT.items():
        node.machine.put([File(f"{CONTENTS}/{path}", content)])
    for service, first in {"blog": "first", "pages": "first", "zone": "1"}.items():
        node.point(service, first)
    node.reload("dns", "zone")
    until(lambda: node.serial() == 1, 5, "the zone is served")
    return node


def status(answer: str) -> int:
    return int(answer.split(" ", 2)[1]) if answer else 0


def body(answer: str) -> str:
    return answer.partition("\n\n")[2]


def test_a_service_without_content_is_not_up(node: Served) -> None:
    for address in (BLOG, BLOG6, PAGES):
        until(partial(_answers, node, address), 5, f"{address} answers")
        assert status(node.curl(address, "/whoami")) == 503
        assert status(node.curl(address)) == 503
    until(lambda: _rcode(node) == dns.rcode.SERVFAIL, 5, "NSD answers without a zone")


def _answers(node: Served, address: str) -> bool:
    return bool(status(node.curl(address)))


def _rcode(node: Served) -> object:
    try:
        return node.ask(ZONE, "example.net", "SOA").rcode()
    except OSError:
        return None


WEB: dict[str, tuple[str, str, str, int, str]] = {
    "a page": (BLOG, "www.example.net", "/", 200, "<h1>a blog</h1>\n" + MANY),
    "the other name": (BLOG6, "example.net", "/about.txt", 200, "é\n"),
    "the longest of names": (BLOG, LONGEST, "/about.txt", 200, "é\n"),
    "a folder": (BLOG, "example.net", "/feed/", 200, "feed\n"),
    "no page": (BLOG, "example.net", "/nothing", 404, "not here\n"),
    "no list of files": (BLOG, "example.net", "/empty/", 404, "not here\n"),
    "no dotfile": (BLOG, "example.net", "/.git/config", 404, "not here\n"),
    "the one dotted folder": (BLOG, "example.net", "/.well-known/security.txt", 200, "Contact"),
    "who answers": (BLOG, "example.net", "/whoami", 200, f"{NODE}\n"),
    "who answers at an address": (BLOG6, "", "/whoami", 200, f"{NODE}\n"),
    "another name": (BLOG, "example.org", "/", 404, "404"),
    "no name": (BLOG6, "", "/", 404, "404"),
    "any name where none is said": (PAGES, "example.org", "/", 200, "pages\n"),
    "a 404 without a page of one's own": (PAGES, "", "/nothing", 404, "404"),
    "out of the folder": (PAGES, "", "/../../etc/passwd", 400, ""),
}


@pytest.mark.parametrize(("address", "host", "path", "code", "text"), WEB.values(), ids=WEB)
def test_nginx_answers_with_files_and_says_who_it_is(
    full: Served, address: str, host: str, path: str, code: int, text: str
) -> None:
    named = ("-H", f"Host: {host}") if host else ()
    answer = full.curl(address, path, "--path-as-is", *named)
    assert status(answer) == code
    assert text in body(answer)
    assert f"X-Served-By: {NODE}\n" in answer
    assert "Server: nginx\n" in answer
    assert "Last-Modified" not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nginx_takes_no_other_method(full: Served, method: str) -> None:
    for path in ("/", "/whoami"):
        assert status(full.curl(PAGES, path, "-X", method)) == 405
    assert status(full.curl(PAGES, "/", "-I")) == 200


def test_nginx_takes_no_body_and_no_long_header(full: Served) -> None:
    assert status(full.curl(PAGES, "/", "-X", "GET", "-d", "x" * 5000)) == 413
    assert status(full.curl(PAGES, "/", "-H", f"X-Long: {'x' * 40000}")) in (400, 494)


def test_a_client_that_has_a_page_is_told_so_by_every_node(full: Served) -> None:
    first = full.curl(PAGES)
    (tag,) = [line.split(" ", 1)[1] for line in first.splitlines() if line.startswith("ETag")]
    assert status(full.curl(PAGES, "/", "-H", f"If-None-Match: {tag}")) == 304


def test_text_is_compressed_where_the_client_takes_it(full: Served) -> None:
    named = ("-H", "Host: example.net")
    answer = full.curl(BLOG, "/", *named, "-H", "Accept-Encoding: gzip", "-o", "/dev/null", "-D-")
    assert "Content-Encoding: gzip" in answer
    assert "Content-Type: text/html; charset=utf-8" in answer
    assert "Content-Encoding" not in full.curl(BLOG, "/", *named)


def test_new_content_is_served_at_once_and_a_reload_ends_no_download(full: Served) -> None:
    full.machine.put([File(f"{CONTENTS}/pages/second/index.html", "second\n")])
    full.machine.put([File(f"{CONTENTS}/pages/first/large.bin", "x" * 3_000_000)])
    slow = subprocess.Popen(
        [*full.machine.enter, "curl", "-s", "--limit-rate", "1M", f"http://{PAGES}/large.bin"],
        stdout=subprocess.PIPE,
    )
    assert slow.stdout is not None
    began = slow.stdout.read(1000)
    full.point("pages", "second")
    assert body(full.curl(PAGES)) == "second\n"
    full.reload("web", "pages")
    assert body(full.curl(PAGES)) == "second\n"
    assert len(began + slow.stdout.read()) == 3_000_000
    full.point("pages", "first")


def test_a_stranger_fills_no_journal(full: Served) -> None:
    for path in ("/nothing", "/empty/", "/.git/config"):
        full.curl(PAGES, path)
    assert full.log("pages") == ""


# --- DNS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [ZONE, ZONE6])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_nsd_answers_with_authority_and_says_who_it_is(
    full: Served, address: str, tcp: bool
) -> None:
    answer = full.ask(address, "www.example.net", "A", tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    assert not answer.flags & dns.flags.RA
    assert [str(each) for each in answer.answer[0]] == [BLOG]
    (nsid,) = [option for option in answer.options if option.otype == dns.edns.OptionType.NSID]
    assert nsid.nsid == NODE.encode()


def test_nsd_says_its_node_and_not_its_version(full: Served) -> None:
    for name in ("id.server", "hostname.bind"):
        answer = full.ask(ZONE, name, "TXT", rdclass=dns.rdataclass.CH)
        assert answer.answer[0][0].strings == (NODE.encode(),)
    for name in ("version.bind", "version.server"):
        answer = full.ask(ZONE, name, "TXT", rdclass=dns.rdataclass.CH)
        assert not answer.answer


@pytest.mark.parametrize("address", [ZONE, ZONE6])
def test_a_long_answer_is_cut_by_udp_and_whole_by_tcp(full: Served, address: str) -> None:
    by_udp = full.ask(address, "big.example.net", "TXT")
    assert by_udp.flags & dns.flags.TC
    assert len(by_udp.to_wire()) <= 1232
    by_tcp = full.ask(address, "big.example.net", "TXT", tcp=True)
    assert not by_tcp.flags & dns.flags.TC
    assert len(by_tcp.answer[0]) == 8


def test_nsd_answers_for_nobody_else(full: Served) -> None:
    assert full.ask(ZONE, "example.com", "A").rcode() == dns.rcode.REFUSED
    transfer = full.ask(ZONE, "example.net", "AXFR", tcp=True)
    assert transfer.rcode() in (dns.rcode.REFUSED, dns.rcode.NOTAUTH)


def test_a_question_for_everything_makes_no_long_answer_by_udp(full: Served) -> None:
    query = dns.message.make_query("example.net", "ANY", use_edns=0, payload=4096).to_wire()

    def answer() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(PATIENCE)
            asking.sendto(query, (ZONE, 53))
            return asking.recv(65535)

    assert len(inside(full.space, answer)) <= len(query)


def test_nsd_limits_answers_to_a_network(full: Served) -> None:
    config = "/etc/anycast-mesh/dns/zone.conf"
    asked = {"rrl-ratelimit": "200", "rrl-slip": "2", "rrl-whitelist-ratelimit": "200"}
    for option, wanted in asked.items():
        found = full.machine.output("/usr/sbin/nsd-checkconf", "-o", option, config)
        assert found.strip() == wanted


def test_zones_change_while_nsd_answers(full: Served) -> None:
    full.point("zone", "2")
    full.reload("dns", "zone")
    until(lambda: full.serial() == 2, 5, "the new serial")
    # Back to an older file, with an older time.
    full.point("zone", "1")
    full.reload("dns", "zone")
    until(lambda: full.serial() == 1, 5, "the old serial")
    full.point("zone", "3")
    full.machine.put(files_of(planned(("example.net", "example.org"))).files)
    full.reload("dns", "zone")
    until(lambda: full.serial("example.org") == 3, 5, "the new zone")
    until(lambda: full.serial() == 3, 5, "the other zone's new serial")


# --- before they are in place --------------------------------------------------------------------


def test_the_daemons_validate_what_is_rendered_and_nothing_is_left(full: Served) -> None:
    before = full.machine.output("find", "/run/anycast-mesh")
    for service in ("blog", "pages"):
        config = f"{web_kind.FOLDER}/{service}.conf"
        full.machine.output(*web_kind.ALONE, service, config)
    full.machine.output("/usr/sbin/nsd-checkconf", f"{dns_kind.FOLDER}/zone.conf")
    assert full.machine.output("find", "/run/anycast-mesh") == before
