"""The pages say what the nodes say, in words, and whatever is in it stays text."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from ipaddress import ip_address
from pathlib import Path

import pytest

from mesh.glass import pages
from mesh.glass.answers import Answer, Community, Mistake, Route, Routes, Served, Way
from mesh.glass.network import Network
from mesh.glass.questions import RefusedQuestion, RouteQuestion, WayQuestion
from mesh.glass.snapshot import Discarded, Generation, Snapshot
from mesh.trust.documents import Repair, Repairs
from tests.glass import samples
from tests.glass.samples import NOW
from tests.kit.stacks import ROOT

LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"
NET = samples.production()
VIEW = pages.View(NET, LAX, False, NOW)
PUBLIC = pages.View(NET, LAX, True, NOW)
QUESTION = RouteQuestion(target=ip_address("8.8.8.8"))
VOID = {"meta", "link", "input", "br", "path", "line", "circle"}


class Read(HTMLParser):
    """A page as a browser has it: its elements, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.feed(page)
        self.close()

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.pieces).split())

    def values(self, tag: str, attribute: str) -> list[str]:
        """The values of an attribute of all elements of a kind."""
        return [value for name, key, value in self.attributes if (name, key) == (tag, attribute)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> ends something else"

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


Sample = Callable[[Callable[[object], object]], str]


def every(view: pages.View = VIEW) -> dict[str, Sample]:
    """By name each page; what it is made from is handed to a function before."""
    net = view.network
    first, second, last = net.nodes[0].id, net.nodes[1].id, net.nodes[-1].id
    wrong = Mistake(key="for", value="x", reason="is no address", cure="an address")

    def of(answer: object, through: Callable[[object], object]) -> Answer:  # type: ignore[type-arg]
        value = through(answer)
        assert isinstance(value, Answer)
        return value

    return {
        "mesh": lambda f: pages.mesh(view, of(samples.eventful(net), f)),
        "node": lambda f: pages.node(view, second, _keyed(of(samples.eventful(net), f), second)),
        "drained": lambda f: pages.node(view, MIA, of(samples.eventful(net), f)),
        "silent": lambda f: pages.node(view, last, of(samples.eventful(net), f)),
        "route": lambda f: pages.route(view, QUESTION, of(samples.routes_everywhere(net), f)),
        "form": lambda f: pages.route(view, None, None),
        "refused": lambda f: pages.refused(
            view, RefusedQuestion(node=first), of(samples.refused(net, first), f)
        ),
        "refused form": lambda f: pages.refused(view, None, None),
        "service": lambda f: pages.service(view, "web", of(samples.served(net, "web"), f)),
        "way": lambda f: pages.way(
            view, WayQuestion(start=first, end=last), of(samples.way(net), f)
        ),
        "way form": lambda f: pages.way(view, None, None),
        "orders": lambda f: pages.orders(view, of(samples.eventful(net), f)),
        "rpki": lambda f: pages.rpki(view, of(samples.eventful(net), f)),
        "help": lambda f: pages.help(view),
        "mistake": lambda f: pages.mistake(view, 404, _mistake(f(wrong))),
    }


def _keyed(answer: Answer, node_id: str) -> Answer:  # type: ignore[type-arg]
    """The second answer as that of a node, whatever its key has become."""
    if node_id in answer.nodes:
        return answer
    return replace(answer, nodes={node_id: [*answer.nodes.values()][1]})


def _mistake(value: object) -> Mistake:
    assert isinstance(value, Mistake)
    return value


def same(value: object) -> object:
    return value


NAMES = list(every())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("view", [VIEW, PUBLIC], ids=["mesh", "public"])
def test_each_page_is_whole_and_has_one_heading_and_no_script_or_style(
    view: pages.View, name: str
) -> None:
    text = every(view)[name](same)
    page = Read(text)
    assert text.startswith("<!doctype html>\n<html lang=")
    assert page.open == []
    assert (page.tags["h1"], page.tags["main"]) == (1, 1)
    assert not page.tags.keys() & {"script", "style", "iframe", "object", "img", "base"}
    assert not [each for each in page.attributes if each[1] == "style" or each[1].startswith("on")]
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_pages_of_the_glass(name: str) -> None:
    known = ("/", "/?refresh=10", "/style.css", "#", "/route", "/refused", "/way", "/orders",
             "/rpki", "/help", "/node/", "/service/", "/api/v1/")  # fmt: skip
    links = Read(every()[name](same)).values("a", "href")
    assert links
    assert all(each.startswith(known) for each in links)


HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "an attribute": "\" onmouseover=alert(1) x='",
    "the end of a tag": "--></title></svg></textarea><img src=x onerror=alert(1)>",
    "a template": "{{ 7*7 }}{% raw %}${7*7}",
    "an entity": "&lt;b&gt;&amp;#60;",
    "a link": "javascript:alert(1)",
    "lines": "one\r\ntwo\n\x00\x1b[31mthree",
    "directions": "a\u202eb\u2066c\u200fd",
    "another script": "\u05d0\u05d1 \u4e2d\u6587 \U0001f600",
    "four thousand": "long " * 800,
    "one word": "W" * 4096,
    "nothing": "",
}


@pytest.mark.parametrize("said", list(HOSTILE))
@pytest.mark.parametrize("name", NAMES)
def test_what_others_say_stays_text(name: str, said: str) -> None:
    """In every field and key that holds text: no element is there that is not there otherwise,
    and no attribute that runs anything."""
    text = HOSTILE[said]
    page = Read(every()[name](lambda value: samples.poisoned(value, text)))
    plain = _harmless(name)
    assert page.open == []
    assert not page.tags.keys() - plain.tags.keys()
    assert {key for _, key, _ in page.attributes} <= {key for _, key, _ in plain.attributes}
    assert not [each for each in page.values("a", "href") if "javascript" in each.split("/")[0]]
    assert "49" not in page.text or "49" in plain.text
    assert all(each.isprintable() or each.isspace() for each in page.text)


@cache
def _harmless(name: str) -> Read:
    """The page with one word everywhere."""
    return Read(every()[name](lambda value: samples.poisoned(value, "plain")))


@pytest.mark.parametrize(("said", "shown"), [
    ("<b>&amp;", "<b>&amp;"),
    ("a\nb", "a\N{REPLACEMENT CHARACTER}b"),
    ("a\u202eb", "a\N{REPLACEMENT CHARACTER}b"),
    ("::/0", "::/0"),
])  # fmt: skip
def test_what_cannot_be_printed_is_seen_to_be_there(said: str, shown: str) -> None:
    answer: Answer[Snapshot] = samples.answer({LAX: said})
    assert f"did not answer: {shown}" in Read(pages.orders(VIEW, answer)).text


def mesh_page(network: Network = NET, view: pages.View = VIEW, **changed: Snapshot | str) -> Read:
    """The page of the mesh, with answers of some nodes changed by their city."""
    data: dict[str, Snapshot | str] = {
        node.id: changed.get(node.region, samples.snapshot(network, node.id))
        for node in network.nodes
    }
    return Read(pages.mesh(view, samples.answer(data)))


def test_a_mesh_in_order_says_so() -> None:
    page = mesh_page()
    assert "4 of 4 nodes answer." in page.text
    assert "192.30.120.0/23 is announced by 4 nodes" in page.text
    assert "Nothing needs a look." in page.text
    assert "6 of 6 tunnels are up." in page.text


def test_a_node_that_runs_no_glass_is_shown_and_not_missed() -> None:
    others = tuple(replace(n, os="openbsd") if n.id == ORD else n for n in NET.nodes)
    network = replace(NET, nodes=others)
    asked = {n.id: samples.snapshot(network, n.id) for n in others if n.has_glass}
    page = Read(pages.mesh(replace(VIEW, network=network), samples.answer(asked)))
    assert "3 of 3 nodes answer." in page.text
    assert "192.30.120.0/23 is announced by 3 nodes," in page.text
    assert "Nothing needs a look." in page.text
    assert f"{ORD} Chicago runs no looking glass" in page.text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (samples.drained(NET, ORD), "drained"),
        (samples.updating(NET, ORD), "drains for an update"),
        (samples.changed(samples.updating(NET, ORD), update="applying"), "applies an update"),
        (samples.changed(samples.updating(NET, ORD), drained=True), "drained"),
        (samples.held(NET, ORD), "on hold"),
        ("no answer within 2 s", "no answer no answer within 2 s"),
        (samples.snapshot(NET, ORD, at=NOW - 43), "43 s old"),
        (samples.snapshot(NET, ORD, at=NOW + 3600), "its clock is 1 h ahead"),
        (samples.changed(samples.snapshot(NET, ORD), bird="hung"), "BIRD does not answer"),
        (samples.changed(samples.snapshot(NET, ORD), in_service=False), "out of service"),
        (samples.snapshot(NET, ORD, generation=Generation(41, 42, "failed", "bird -p")),
         "generation failed"),
        (samples.snapshot(NET, ORD), "in service"),
    ],
)  # fmt: skip
def test_the_state_of_a_node_is_said_in_words(data: Snapshot | str, said: str) -> None:
    assert f"{ORD} Chicago {said}" in mesh_page(ord=data).text


def test_a_node_with_an_old_snapshot_has_answered() -> None:
    old = samples.answer({ORD: samples.snapshot(NET, ORD, at=NOW - 43)})
    doubted = replace(old.nodes[ORD], why="its snapshot is 43 s old")
    page = Read(pages.node(VIEW, ORD, replace(old, nodes={ORD: doubted}))).text
    assert "did not answer" not in page
    assert "Its snapshot is of 2026-09-21 14:12:37 UTC: 43 s old." in page


def test_a_drained_node_does_not_seem_broken() -> None:
    page = mesh_page(ord=samples.drained(NET, ORD))
    assert "Drained by order 7" in page.text
    assert "A service is down" not in page.text
    assert f"{ORD} Chicago drained 42 no no 0 of 2" in page.text


def test_a_node_that_drains_for_an_update_does_not_seem_broken_or_drained_by_order() -> None:
    page = mesh_page(ord=samples.updating(NET, ORD))
    assert "Drains for an update: it announces and serves nothing until" in page.text
    assert "Drained by order" not in page.text and "0 nodes are drained" in page.text
    assert "A service is down" not in page.text
    assert f"{ORD} Chicago drains for an update 41 no no 0 of 2" in page.text


def test_a_node_that_waits_for_its_wave_is_in_service_and_says_so() -> None:
    waits = samples.snapshot(NET, ORD, generation=Generation(41, 42, "pending"))
    page = mesh_page(ord=samples.changed(waits, update="waiting", rollout=9))
    assert f"{ORD} Chicago in service 41" in page.text
    assert "Generation 41 is in force, 42 published, which waits for this node's wave." in page.text


def test_a_node_that_is_away_is_one_notice_and_not_one_of_each_peer() -> None:
    def without(node: str) -> Snapshot:
        value = samples.snapshot(NET, node)
        down = tuple(replace(s, state="Active") if s.peer == EWR else s for s in value.sessions)
        tunnels = {"wg-ewr-vultr-1": "no handshake for 4 minutes"}
        return samples.changed(replace(value, sessions=down), tunnels=tunnels)

    page = mesh_page(lax=without(LAX), ord=without(ORD), mia=without(MIA), ewr="connection refused")
    assert "1 thing needs a look" in page.text
    assert "No answer, and 3 nodes have lost sessions with it: connection refused" in page.text


@pytest.mark.parametrize("said", [
    "A fault of the node: disk: No space left on device",
    "Not announced: 2620:71:4000::/48: no healthy instance",
    "Session down for 1 min 35 s: New York (ewr-vultr-1), tunnel. BFD session down",
    "A service is down: web: http port 80 over IPv6: no answer within 2 s",
    "announces a service at a node that does not serve it: 192.30.120.100/32 via",
    "192.30.121.9 is discarded, and only New York (ewr-vultr-1) says so",
    "does not follow the drain 8 that is signed with the operator's key: its number",
    "The clock is 3 s ahead of that of a registry",
    "Something was repaired 2 times in ten minutes: /etc/bird/bird.conf (changed, by vim",
    "A service needs a look: dns: the zone example.net expires in 3 days",
])  # fmt: skip
def test_what_needs_a_look_is_said(said: str) -> None:
    answer = samples.answer({ORD: samples.troubled(NET, ORD)})
    assert said in Read(pages.node(VIEW, ORD, answer)).text
    assert said.split(":")[0] in mesh_page(ord=samples.troubled(NET, ORD)).text


def test_a_session_of_one_family_is_called_by_it() -> None:
    value = samples.snapshot(NET, ORD)
    down = tuple(replace(s, state="Active") if s.kind == "upstream" else s for s in value.sessions)
    page = Read(pages.node(VIEW, ORD, samples.answer({ORD: replace(value, sessions=down)}))).text
    assert "vultr, upstream, IPv4." in page
    assert "vultr, upstream, IPv6." in page


def test_what_a_node_announces_is_not_known_without_its_bird() -> None:
    assert (
        f"{ORD} Chicago BIRD does not answer 42 unknown unknown"
        in mesh_page(
            ord=samples.changed(samples.snapshot(NET, ORD), bird="runs, and does not answer")
        ).text
    )


@pytest.mark.parametrize(("repair", "said"), [
    (Repair("unit bird.service", "does not run", 0, 5, "", True), "does not stay as in"),
    (Repair("unit bird.service", "does not run", 0, 5), "could not be repaired: unit bird.service"),
])  # fmt: skip
def test_what_was_not_repaired_is_not_called_so(repair: Repair, said: str) -> None:
    value = samples.changed(samples.snapshot(NET, ORD), repairs=Repairs(0, (repair,)))
    page = Read(pages.node(VIEW, ORD, samples.answer({ORD: value}))).text
    assert f"Something {said}" in page
    assert "0 times" not in page


def test_many_notices_are_counted() -> None:
    faults = {f"fault {n}": "why" for n in range(130)}
    page = mesh_page(ord=samples.changed(samples.snapshot(NET, ORD), faults=faults))
    assert "130 things need a look" in page.text
    assert "And 30 things more" in page.text


def test_an_address_of_a_service_that_is_blackholed_is_shown_as_such() -> None:
    value = samples.snapshot(NET, ORD)
    value = replace(value, blackholes=(Discarded(ip_address("192.30.120.100"), NOW + 60),))
    assert "192.30.120.100 blackholed 2620:71:4000::100" in mesh_page(ord=value).text


def test_the_table_says_what_the_map_shows() -> None:
    page = mesh_page(ord=samples.troubled(NET, ORD))
    assert "New York ewr-vultr-1 Chicago ord-vultr-1 12 down" in page.text
    assert "5 of 6 tunnels are up." in page.text
    assert page.values("line", "class").count("down") == 1


def test_of_many_tunnels_those_that_are_down_are_seen_at_once() -> None:
    net = samples.sixteen()
    page = mesh_page(net, replace(VIEW, network=net), ord=samples.troubled(net, ORD))
    assert "Tunnels that are not up" in page.text
    assert page.tags["details"] == 1


def test_a_session_is_said_in_words() -> None:
    answer = samples.answer({ORD: samples.troubled(NET, ORD)})
    page = Read(pages.node(VIEW, ORD, answer))
    assert "New York ewr-vultr-1 , tunnel u_ewr_vultr_1 IPv4 Active waiting for a conn" in page.text
    assert (
        "vultr AS64515 , upstream vultr4 IPv4 Established 9 d 1,012,345 1,011,912 433 2 1,500,000"
    )
    assert f"/refused?node={ORD}&session=vultr4" in page.values("a", "href")
    assert "Latest handshake" in page.text
    assert "31 s ago 812 MB 91.2 MB" in page.text


def test_a_limit_that_is_reached_is_said() -> None:
    value = samples.snapshot(NET, ORD)
    sessions = tuple(
        replace(each, channels={f: replace(c, at_limit=True) for f, c in each.channels.items()})
        if each.name == "vultr4" else each for each in value.sessions
    )  # fmt: skip
    answer = samples.answer({ORD: replace(value, sessions=sessions)})
    page = Read(pages.node(VIEW, ORD, answer))
    assert "Session at its limit of 1,500,000 prefixes of IPv4: vultr, upstream." in page.text


def route_page(data: Routes, view: pages.View = VIEW) -> Read:
    return Read(pages.route(view, QUESTION, samples.answer({LAX: data})))


def test_a_long_list_of_routes_is_shared_by_the_nodes_and_says_so() -> None:
    many = tuple(
        replace(samples.routes(NET, LAX).routes[0], prefix=f"192.0.2.{n}/32") for n in range(256)
    )
    page = Read(
        pages.route(VIEW, QUESTION, samples.answer(dict.fromkeys(NET.by_id, Routes(routes=many))))
    )
    assert page.text.count("in use from vultr") == pages.MAX_ROUTES
    assert page.text.count("The first 100 of 256 routes are here") == 4
    assert f"/route?for=8.8.8.8&node={ORD}" in page.values("a", "href")


def test_each_path_says_whether_it_is_used_and_why() -> None:
    page = route_page(samples.routes(NET, LAX)).text
    used, unused = "in use from vultr , upstream", "not used from transit-b , upstream"
    refused = "refused from rs1 , upstream rs1v4 Refused by the import policy: invalid by a ROA"
    assert page.index(used) < page.index(unused) < page.index(refused)
    assert "a longer path: 5 ASNs, and the one in use has 3" in page
    assert "Origin by ROA invalid" in page
    assert "20473:300 Vultr: private peer 64515:44" in page


def test_the_table_with_the_route_in_use_is_first() -> None:
    used = Route(prefix="192.30.120.9/32", table="master4", session="u", kind="tunnel", used=True)
    order = Route(prefix="192.30.120.9/32", table="internet4", session="o", kind="static")
    page = route_page(Routes(routes=(order, used))).text
    assert page.index("in table master4") < page.index("in table internet4")


def test_the_asn_of_a_node_is_shown_as_the_node() -> None:
    one = replace(
        samples.routes(NET, LAX).routes[0], path=(4_200_000_002, 64515, 64515, 64515, 15169)
    )
    assert f"Path {ORD} AS64515 3 times AS15169" in route_page(Routes(routes=(one,))).text


def test_a_look_up_says_who_did_not_answer_and_who_has_more() -> None:
    answer = samples.routes_everywhere(NET)
    nodes = answer.nodes | {MIA: replace(answer.nodes[MIA], truncated=True)}
    page = Read(pages.route(VIEW, QUESTION, replace(answer, nodes=nodes))).text
    assert f"{EWR} did not answer: no answer within 2 s" in page
    assert f"{MIA} has more than it sent." in page
    assert f"Chicago {ORD} This node has no table internet4. No route." in page


def test_a_look_up_keeps_what_was_asked_in_its_form() -> None:
    question = replace(QUESTION, node=ORD, table="internet4", more=True)
    page = Read(pages.route(VIEW, question, samples.routes_everywhere(NET)))
    assert "8.8.8.8" in page.values("input", "value")
    assert len(page.values("option", "selected")) == 2
    assert len(page.values("input", "checked")) == 1
    json = "/api/v1/route?for=8.8.8.8&node=ord-vultr-1&table=internet4&more=1"
    assert json in page.values("a", "href")


def test_every_field_has_a_label() -> None:
    for name in ("route", "refused", "way", "mesh"):
        page = Read(every()[name](same))
        fields = {*page.values("input", "id"), *page.values("select", "id")}
        assert fields
        assert fields == set(page.values("label", "for"))


def test_refused_routes_are_counted_by_reason_and_cut_lists_say_so() -> None:
    page = Read(pages.refused(VIEW, RefusedQuestion(node=LAX), samples.refused(NET, LAX))).text
    assert "Not all: the first 31 of 451" in page
    assert "invalid by a ROA 421 a bogon prefix 30" in page
    assert "203.0.113.0/24 invalid by a ROA rs1 rs1v4 AS64666" in page


@pytest.mark.parametrize(("data", "said"), [
    (Served(serves={"ipv4": True, "ipv6": True}), "serves it serves it"),
    (Served(serves={"ipv4": False, "ipv6": False}, taken_from={"ipv4": ORD, "ipv6": ""}),
     f"takes it from Chicago {ORD} reaches nobody who serves it"),
    (Served(serves={"ipv4": True}), "serves it no address"),
])  # fmt: skip
def test_a_service_says_from_whom_each_node_takes_it(data: Served, said: str) -> None:
    page = Read(pages.service(VIEW, "web", samples.answer({LAX: data})))
    assert f"{LAX} Los Angeles {said}" in page.text


def test_a_way_says_both_and_whether_they_differ() -> None:
    question = WayQuestion(start=LAX, end=EWR)
    page = Read(pages.way(VIEW, question, samples.way(NET))).text
    assert f"By plan Los Angeles {LAX} cost 39 New York {EWR} Cost 39." in page
    assert "Cost 40. not as planned" in page
    answer = samples.way(NET)
    data = answer.nodes[LAX].data
    assert data is not None
    none = samples.answer({LAX: Way(planned=data.planned, in_use=None, why="no route leads there")})
    assert "none no route leads there" in Read(pages.way(VIEW, question, none)).text


def test_orders_say_who_follows_them_until_when_and_by_whose_word() -> None:
    hearsay = Discarded(ip_address("192.30.121.9"), NOW + 60, signed=False)
    one = samples.snapshot(NET, ORD)
    found = samples.answer({
        LAX: samples.snapshot(NET, LAX),
        ORD: replace(one, blackholes=(*one.blackholes, hearsay)),
        MIA: samples.drained(NET, MIA),
        EWR: samples.held(NET, EWR),
    })  # fmt: skip
    page = Read(pages.orders(VIEW, found)).text
    assert ("192.30.121.7 2026-09-21 16:13:20 UTC (in 2 h) ticket 4711: flood the operator "
            f"{LAX} , {ORD} , {MIA} , {EWR}") in page  # fmt: skip
    assert "192.30.121.9 2026-09-21 14:14:20 UTC (in 1 min) none given no order: a peer" in page
    assert f"Drained nodes {MIA} ." in page
    assert f"{EWR} , until 2026-09-21 14:53:20 UTC (in 40 min)" in page


def test_a_mistake_says_key_value_reason_and_cure() -> None:
    wrong = Mistake(
        key="for", value="1.2.3", reason="is no address", cure="an address as 192.0.2.1"
    )
    page = Read(pages.mistake(VIEW, 400, wrong)).text
    assert "for with the value 1.2.3 : is no address" in page
    assert "What helps: an address as 192.0.2.1" in page


@pytest.mark.parametrize(("asked", "seconds"), [(0, []), (10, ["10"]), (1, []), (10**6, [])])
def test_a_page_is_loaded_anew_only_where_that_is_asked(asked: int, seconds: list[str]) -> None:
    page = Read(pages.mesh(VIEW, samples.all_well(NET), refresh=asked))
    held = [value for tag, key, value in page.attributes
            if tag == "meta" and key == "content" and value.isdigit()]  # fmt: skip
    assert held == seconds


SECRET = {
    "mesh": ["needs a look", "wg-", "No space left", "10.10.10."],
    "node": ["BFD session down", "Hold timer", "No space left", "wg-", "10.10.10.", "ticket",
             "u_ewr", "mate4", "handshake", "6.12.57", "no answer within 2 s", "8443"],
    "orders": ["ticket 4711", "Ordered by"],
    "rpki": ["192.0.2.53"],
    "route": ["169.254.169.254", "enp1s0", "no answer within 2 s"],
}  # fmt: skip


@pytest.mark.parametrize("name", list(SECRET))
def test_the_public_sees_less_and_is_told_so(name: str) -> None:
    for_mesh, for_all = Read(every()[name](same)).text, Read(every(PUBLIC)[name](same)).text
    assert "Reduced view for the public." in for_all
    assert [each for each in SECRET[name] if each in for_all] == []
    assert any(each in for_mesh for each in SECRET[name])


def far() -> Iterator[Snapshot]:
    """Snapshots with numbers at the ends of what may be in one."""
    value = samples.troubled(NET, ORD)
    for number in (0.0, 2.0**53):
        yield replace(
            value, at=number, agent_started=number, bird_started=number, certificate=number,
            sessions=tuple(replace(each, since=number) for each in value.sessions),
            tunnels=tuple(replace(each, handshake=number, sent=2**63 - 1)
                          for each in value.tunnels),
            caches=tuple(replace(each, since=number) for each in value.caches),
            blackholes=(Discarded(ip_address("::1"), number),),
            checks=tuple(replace(each, seconds=number) for each in value.checks),
        )  # fmt: skip


@pytest.mark.parametrize("value", list(far()), ids=["least", "most"])
def test_numbers_that_are_no_dates_are_shown_all_the_same(value: Snapshot) -> None:
    answer = samples.answer({ORD: samples.changed(value, held=2**53 - 1)})
    for page in (pages.node(VIEW, ORD, answer), pages.mesh(VIEW, answer),
                 pages.orders(VIEW, answer), pages.rpki(VIEW, answer)):  # fmt: skip
        assert Read(page).open == []


def test_a_route_without_anything_is_shown() -> None:
    bare = replace(
        samples.routes(NET, LAX).routes[0], path=(), origin=None, next_hop="", interface="",
        local_pref=None, med=None, communities=(), since=0.0, why="", peer="", kind="device",
    )  # fmt: skip
    assert "in use from this node" in route_page(Routes(routes=(bare,))).text


def test_a_page_of_sixteen_nodes_is_light() -> None:
    net = samples.sixteen()
    made = every(replace(VIEW, network=net))
    assert len(made["mesh"](same).encode()) < 64_000
    assert len(pages.STYLE) < 16_000


def test_a_community_is_named_where_it_has_a_name() -> None:
    one = replace(samples.routes(NET, LAX).routes[0], communities=(Community("1:2", "<i>"),))
    assert "1:2 <i>" in route_page(Routes(routes=(one,))).text


def test_pages_are_made_from_a_zip_as_well(tmp_path: Path) -> None:
    """As the bundle has them."""
    packed = tmp_path / "bundle.pyz"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((ROOT / "mesh").rglob("*")):
            if path.suffix in (".py", ".html", ".css", ".svg") and "lab" not in path.parts:
                archive.write(path, path.relative_to(ROOT).as_posix())
    program = (
        "import mesh.glass.pages as p; from mesh.glass.network import *; assert '.pyz' in "
        "p.__file__; n = Network(64500, 8080, False, (Region('a', 'A', (1.0, 2.0)),), "
        "(Node('a-b-1', 'a', 'b', (), 4200000001, (), (), ()),), (), (), (), {}, {}); "
        "from mesh.glass.answers import *; print(p.mesh(p.View(n, 'a-b-1', False, 0.0), "
        "Answer(asked={}, at=0.0, nodes={'a-b-1': NodeAnswer(ok=False, why='away')})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(packed)}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "did not answer" not in done.stdout
    assert '<path class="land" d="M' in done.stdout
