"""The pages in a real browser: found by role and label, without scripts, with a strict policy, on
narrow and wide screens, light and dark, and without findings of axe-core."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from mesh.glass import pages
from mesh.glass.answers import Mistake
from mesh.glass.questions import RefusedQuestion, RouteQuestion, WayQuestion
from tests.glass import samples
from tests.kit.needs import CHROMIUM
from tests.kit.wait import patience

pytestmark = pytest.mark.browser

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
LAX, ORD, EWR = "lax-vultr-1", "ord-vultr-1", "ewr-vultr-1"
Scheme = Literal["light", "dark"]


def made(poison: str | None = None) -> dict[str, str]:
    """The pages of the production network by their paths; with ``poison`` in all that is said."""
    net = samples.production()
    view = pages.View(net, LAX, False, samples.NOW)
    wrong = Mistake(key="for", value="1.2.3", reason="is no address", cure="an address")

    def of(value: Any) -> Any:
        if poison is None:
            return value
        nodes = samples.poisoned(tuple(value.nodes.values()), poison)
        return replace(value, nodes=dict(zip(value.nodes, nodes, strict=True)))

    question = RouteQuestion(target=ip_address("8.8.8.8"))
    found = {
        "/": pages.mesh(view, of(samples.eventful(net))),
        f"/node/{ORD}": pages.node(view, ORD, of(samples.eventful(net))),
        "/route": pages.route(view, None, None),
        "/route?for=8.8.8.8&node=all": pages.route(
            view, question, of(samples.routes_everywhere(net))
        ),
        f"/refused?node={LAX}": pages.refused(
            view, RefusedQuestion(node=LAX), of(samples.refused(net, LAX))
        ),
        "/service/web": pages.service(view, "web", of(samples.served(net, "web"))),
        f"/way?from={LAX}&to={EWR}": pages.way(
            view, WayQuestion(start=LAX, end=EWR), of(samples.way(net))
        ),
        "/orders": pages.orders(view, of(samples.eventful(net))),
        "/rpki": pages.rpki(view, of(samples.eventful(net))),
        "/help": pages.help(view),
        "/mistake": pages.mistake(view, 404, wrong),
    }
    big = samples.sixteen()
    large = replace(view, network=big)
    return found | {"/sixteen": pages.mesh(large, samples.eventful(big))}


SITE = cache(made)
PATHS = list(made())
IN_LIGHT = [path for path in PATHS if path not in ("/route", "/sixteen")]
"""The others have the same elements."""
IN_THE_DARK = ("/", f"/node/{ORD}", "/route?for=8.8.8.8&node=all", "/mistake")
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
LOOK = "rules => axe.run(rules ? {runOnly: rules} : {}).then(found => found.violations)"


@contextmanager
def serving(site: dict[str, str], policy: str) -> Iterator[str]:
    """A server of pages, with the headers that the glass sends; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/style.css":
                self._send(200, "text/css", pages.STYLE)
            else:
                page = site.get(self.path.removesuffix("&table="))
                self._send(404 if page is None else 200, "text/html; charset=utf-8",
                           (page or "nothing").encode())  # fmt: skip

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", policy)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=str(CHROMIUM), timeout=patience(30) * 1000
        )
        yield found
        found.close()


def patient_page(context: BrowserContext) -> Page:
    """A page that waits for the browser, which has no processor for a while."""
    context.set_default_timeout(patience(30) * 1000)
    return context.new_page()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(SITE(), POLICY) as found:
        yield found


Open = Callable[..., Page]


@pytest.fixture(scope="module")
def plain(browser: Browser, url: str) -> Iterator[Open]:
    """Opens a page without scripts and with the policy in force; what the browser complains of
    fails the test."""
    context = browser.new_context(java_script_enabled=False, base_url=url)
    page = patient_page(context)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))

    def opened(path: str, width: int = 1280, scheme: Scheme = "light") -> Page:
        complaints.clear()
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.goto(path)
        assert complaints == []
        return page

    yield opened
    context.close()


def test_the_network_is_found_by_roles_and_names(plain: Open) -> None:
    page = plain("/")
    assert page.get_by_role("heading", level=1).inner_text() == "Network"
    assert page.get_by_role("navigation", name="Pages").get_by_role("link").count() == 7
    assert page.get_by_role("img", name="Map of 4 cities and the tunnels between them").is_visible()
    table = page.get_by_role("table", name="Nodes, what they announce and serve")
    row = table.get_by_role("row", name=ORD)
    assert row.get_by_role("rowheader").inner_text() == ORD
    assert row.get_by_role("cell", name="Chicago").is_visible()
    assert page.get_by_role("link", name="things need a look").is_visible()


def test_a_look_up_is_a_form_of_labelled_fields(plain: Open) -> None:
    page = plain("/route")
    page.get_by_label("Address or prefix").fill("8.8.8.8")
    assert page.get_by_label("Asked of").input_value() == "all"
    page.get_by_role("button", name="Look up").click()
    page.wait_for_url(lambda at: at.endswith("/route?for=8.8.8.8&node=all&table="))


def test_routes_stand_side_by_side_with_the_reason_of_each(plain: Open) -> None:
    page = plain("/route?for=8.8.8.8&node=all", 1600)
    one = page.get_by_role("region", name="Los Angeles")
    other = page.get_by_role("region", name="Miami")
    assert one.get_by_role("listitem").filter(has_text="refused").first.is_visible()
    assert one.get_by_text("Refused by the import policy: invalid by a ROA").is_visible()
    here, there = one.bounding_box(), other.bounding_box()
    assert here is not None
    assert there is not None
    assert here["y"] == there["y"]


def test_a_link_leads_from_a_node_to_what_it_refuses(plain: Open) -> None:
    page = plain(f"/node/{ORD}")
    link = page.get_by_role("link", name="433", exact=True)
    assert link.get_attribute("href") == f"/refused?node={ORD}&session=vultr4"


def test_the_keyboard_reaches_the_content_and_what_scrolls(plain: Open) -> None:
    page = plain("/", 320)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "To the content"
    page.keyboard.press("Enter")
    page.locator("#content:focus").wait_for()
    nodes = page.get_by_role("region", name="Nodes, what they announce and serve")
    nodes.focus()
    page.keyboard.press("ArrowRight")
    assert nodes.evaluate("each => each === document.activeElement")


@pytest.mark.parametrize("width", [320, 1600])
def test_no_page_is_wider_than_the_screen(plain: Open, width: int) -> None:
    assert {path: wider(plain(path, width)) for path in PATHS} == dict.fromkeys(PATHS, 0)


def wider(page: Page) -> int:
    """By how many pixels a page is wider than the screen."""
    return int(page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    ))  # fmt: skip


def test_light_and_dark_are_what_the_reader_has_chosen(plain: Open) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    assert plain("/help").evaluate(colour) == "rgb(247, 248, 249)"
    assert plain("/help", scheme="dark").evaluate(colour) == "rgb(20, 24, 28)"


@pytest.mark.parametrize(("scheme", "paths", "rules"), [
    ("light", IN_LIGHT, None),
    ("dark", IN_THE_DARK, ["color-contrast", "link-in-text-block"]),
])  # fmt: skip
def test_axe_finds_nothing(
    browser: Browser, url: str, scheme: Scheme, paths: Sequence[str], rules: list[str] | None
) -> None:
    """With scripts, which axe-core is; in the dark only colours can differ."""
    context = browser.new_context(bypass_csp=True, base_url=url, color_scheme=scheme)
    page = patient_page(context)
    found = {}
    for path in paths:
        page.goto(path)
        page.evaluate(AXE)
        findings = page.evaluate(LOOK, rules)
        found[path] = [(each["id"], [node["html"] for node in each["nodes"]]) for each in findings]
    context.close()
    assert {path: each for path, each in found.items() if each} == {}


RUNS = (
    "<script>document.title = 'run'</script>'\"><img src=x onerror=\"document.title = 'run'\">"
    "</title></option></svg><svg onload=\"document.title = 'run'\">"
)


def test_what_others_say_runs_nothing_even_without_the_policy(browser: Browser) -> None:
    context = browser.new_context()
    page = patient_page(context)
    with serving(made(RUNS), "default-src * 'unsafe-inline'") as url:
        for path in PATHS:
            page.goto(url + path)
            assert page.title() != "run"
            assert page.locator("script, img, svg[onload]").count() == 0
        page.goto(url + "/orders")
        assert page.get_by_text(RUNS).first.is_visible()
    context.close()


def test_what_others_say_does_not_widen_a_page(browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 320, "height": 800})
    page = patient_page(context)
    found = {}
    with serving(made("W" * 4096), POLICY) as url:
        for path in PATHS:
            page.goto(url + path)
            found[path] = wider(page)
    context.close()
    assert found == dict.fromkeys(PATHS, 0)
