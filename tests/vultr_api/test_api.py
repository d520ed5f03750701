"""The fake behaves as users report of the API, and fails when it is told to."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kit.vultr_api import KEY, Fault, Knobs, Vultr, answering, html, limited
from tests.kit.vultr_api.offers import DEBIAN_ID
from tests.kit.vultr_api.serving import Served
from tests.kit.wait import PATIENCE

SERVER: dict[str, Any] = {"region": "lax", "plan": "vc2-1c-1gb", "os_id": DEBIAN_ID,
                          "label": "one", "user_data": base64.b64encode(b"#cloud-config").decode(),
                          "enable_ipv6": True}  # fmt: skip
RULE: dict[str, Any] = {"ip_type": "v4", "protocol": "tcp", "subnet": "192.0.2.0",
                        "subnet_size": 24, "port": "22"}  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with answering(Vultr()) as one:
        yield one


@pytest.fixture
def vultr(served: Served) -> Vultr:
    """An account with nothing in it."""
    one = served.vultr
    for kept in (one.keys, one.addresses, one.groups, one.servers, one.quotas):
        kept.clear()
    one.knobs, one.stop = Knobs(), None
    one.faults.clear()
    one.forget_calls()
    return one


@pytest.fixture
def api(served: Served, vultr: Vultr) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    trust = ssl.create_default_context(cafile=served.authority)
    with httpx.Client(
        base_url=served.url, headers=headers, verify=trust, timeout=PATIENCE
    ) as client:
        yield client


def made(api: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a POST has made."""
    answer = api.post(path, json=body)
    assert answer.is_success, answer.text
    (found,) = answer.json().values()
    return dict(found)


def said(answer: httpx.Response) -> tuple[int, str]:
    """A refusal."""
    document = answer.json()
    assert document["status"] == answer.status_code
    return answer.status_code, document["error"]


def test_only_its_key_opens_it_and_from_there_only(api: httpx.Client, vultr: Vultr) -> None:
    wrong = api.get("/account", headers={"Authorization": "Bearer of-nobody"})
    assert said(wrong) == (401, "Invalid API token.")
    vultr.knobs.sources = ("192.0.2.1",)
    assert said(api.get("/account")) == (403, "Unauthorized IP address: 127.0.0.1")


def test_a_list_comes_in_pages_that_say_how_many_there_are(api: httpx.Client, vultr: Vultr) -> None:
    vultr.knobs.page = 2
    found, cursor = [], ""
    while True:
        page = api.get("/regions", params={"cursor": cursor, "per_page": 500}).json()
        assert page["meta"]["total"] == len(vultr.regions)
        assert len(page["regions"]) <= 2
        found += page["regions"]
        if not (cursor := page["meta"]["links"]["next"]):
            break
    assert found == vultr.regions


def test_a_server_comes_up_after_a_while(api: httpx.Client, vultr: Vultr) -> None:
    vultr.knobs.boot = vultr.knobs.ipv6 = 3600
    one = made(api, "/instances", SERVER)
    assert (one["status"], one["main_ip"], one["v6_main_ip"]) == ("pending", "0.0.0.0", "")
    assert one["default_password"], "in this answer only"
    vultr.knobs.boot = 0
    later = api.get(f"/instances/{one['id']}").json()["instance"]
    assert (later["status"], later["power_status"], later["v6_main_ip"]) == (
        "active",
        "running",
        "",
    )
    assert "default_password" not in later
    vultr.knobs.ipv6 = 0
    assert api.get(f"/instances/{one['id']}").json()["instance"]["v6_main_ip"]


def test_an_address_is_at_one_server_and_comes_off_after_a_while(
    api: httpx.Client, vultr: Vultr
) -> None:
    address = made(api, "/reserved-ips", {"region": "lax", "ip_type": "v4", "label": "a"})
    body = SERVER | {"reserved_ipv4": address["id"]}
    one = made(api, "/instances", body)
    assert vultr.server("one").main_ip == address["subnet"]
    assert "already attached" in said(api.post("/instances", json=body))[1]
    assert "Unable to detach" in said(api.delete(f"/reserved-ips/{address['id']}"))[1]
    vultr.knobs.detach = 3600
    assert api.delete(f"/instances/{one['id']}").status_code == 204
    assert "Unable to detach" in said(api.delete(f"/reserved-ips/{address['id']}"))[1]
    vultr.detach(vultr.address("a"), at_once=True)
    assert api.delete(f"/reserved-ips/{address['id']}").status_code == 204


def test_a_server_is_found_by_its_label_and_tag(api: httpx.Client, vultr: Vultr) -> None:
    made(api, "/instances", SERVER | {"tags": ["mine", "a:b=c"]})
    made(api, "/instances", SERVER | {"label": "two"})
    for query, labels in (
        ({"label": "one"}, ["one"]), ({"tag": "a:b=c"}, ["one"]), ({"tag": "a"}, []),
        ({}, ["one", "two"]),
    ):  # fmt: skip
        found = api.get("/instances", params=query).json()["instances"]
        assert [each["label"] for each in found] == labels


def test_a_rule_is_there_once_and_named_by_its_network(api: httpx.Client, vultr: Vultr) -> None:
    rules = f"/firewalls/{made(api, '/firewalls', {'description': 'd'})['id']}/rules"
    assert made(api, rules, RULE)["source"] == "192.0.2.0/24"
    assert "already defined" in said(api.post(rules, json=RULE | {"notes": "another"}))[1]
    assert "invalid subnet" in said(api.post(rules, json=RULE | {"subnet": "192.0.2.1"}))[1]
    assert api.put(f"{rules}/1", json=RULE).status_code == 405, "a rule cannot be changed"
    for number in range(49):
        made(api, rules, RULE | {"port": str(1000 + number)})
    assert "maximum number" in said(api.post(rules, json=RULE | {"port": "1"}))[1]
    vultr.knobs.filled = False
    assert api.get(f"{rules}/1").json()["firewall_rule"]["source"] == ""


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"region": "xyz"}, "Invalid region"),
        ({"plan": "vc2-9c-9gb"}, "Invalid plan"),
        ({"os_id": 10}, "Invalid os_id"),
        ({"user_data": "#cloud-config"}, "base64"),
        ({"reserved_ipv4": "nobody's"}, "Invalid reserved IP"),
        ({"firewall_group_id": "nobody's"}, "Invalid firewall group"),
        ({"sshkey_id": ["nobody's"]}, "Invalid SSH key"),
        ({"region": "nrt", "ddos_protection": True}, "DDOS"),
    ],
)
def test_a_server_that_cannot_be_is_refused(
    api: httpx.Client, vultr: Vultr, changed: dict[str, Any], text: str
) -> None:
    status, words = said(api.post("/instances", json=SERVER | changed))
    assert status == 400
    assert text in words
    assert not vultr.servers


@pytest.mark.parametrize(
    ("path", "today"),
    [
        ("/instances/x", (404, "instance not found")),
        ("/instances/x/vpc2", (404, "Not found.")),
        ("/reserved-ips/x", (404, "Invalid reserved-ip ID.")),
        ("/firewalls/x", (404, "Firewall group not found.")),
        ("/ssh-keys/x", (404, "Invalid SSH Key ID.")),
        ("/nothing", (404, "Not found.")),
    ],
)
def test_what_is_not_there(
    api: httpx.Client, vultr: Vultr, path: str, today: tuple[int, str]
) -> None:
    assert said(api.get(path)) == today


def test_a_server_that_is_gone_was_called_invalid_once(api: httpx.Client, vultr: Vultr) -> None:
    vultr.knobs.gone = "old"
    assert said(api.get("/instances/x")) == (400, "invalid instance ID")


def test_reverse_names_of_ipv6_are_listed_in_full(api: httpx.Client, vultr: Vultr) -> None:
    path = f"/instances/{made(api, '/instances', SERVER)['id']}/ipv6/reverse"
    main = vultr.server("one").v6_main_ip
    assert api.post(path, json={"ip": main, "reverse": "a.example.net"}).status_code == 204
    assert len(api.get(path).json()["reverse_ipv6s"][0]["ip"]) == 39
    vultr.knobs.expanded = False
    assert api.get(path).json()["reverse_ipv6s"] == [{"ip": main, "reverse": "a.example.net"}]
    assert api.delete(f"{path}/{main}").status_code == 204
    assert api.get(path).json()["reverse_ipv6s"] == []


def test_bare_metal_has_no_group_and_no_console(api: httpx.Client, vultr: Vultr) -> None:
    body = SERVER | {"plan": "vbm-4c-32gb", "region": "ewr"}
    one = made(api, "/bare-metals", body)
    assert not {"firewall_group_id", "kvm", "power_status"} & set(one)
    assert said(api.get(f"/instances/{one['id']}"))[0] == 404


class TestFaults:
    """What a test asks to go wrong."""

    def test_instead_of_an_answer(self, api: httpx.Client, vultr: Vultr) -> None:
        vultr.fail(Fault("GET", "/os", limited(7)), Fault("POST", "/firewalls", html(), times=2))
        assert api.get("/os").headers["Retry-After"] == "7"
        assert api.get("/os").is_success
        for _ in range(2):
            assert "<html>" in api.post("/firewalls", json={}).text
        assert not vultr.groups

    def test_after_it_was_done(self, api: httpx.Client, vultr: Vultr) -> None:
        vultr.fail(Fault("POST", "/firewalls", when="after"))
        assert api.post("/firewalls", json={}).status_code == 500
        assert len(vultr.groups) == 1

    @pytest.mark.parametrize("when", ["cut", "reset"])
    def test_the_connection_ends(self, api: httpx.Client, vultr: Vultr, when: Any) -> None:
        vultr.fail(Fault("POST", "/firewalls", when=when))
        with pytest.raises(httpx.TransportError):
            api.post("/firewalls", json={})
        assert len(vultr.groups) == 1

    def test_too_many_in_a_second(
        self, api: httpx.Client, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = vultr.clock()
        monkeypatch.setattr(vultr, "clock", lambda: now)
        vultr.knobs.rate = 5
        assert [api.get("/os").status_code for _ in range(6)] == [200] * 5 + [429]

    @pytest.mark.parametrize(("how", "done"), [("before", 0), ("after", 1), ("on", 1)])
    def test_whoever_asks_is_stopped_at_a_call(
        self, api: httpx.Client, vultr: Vultr, how: Any, done: int
    ) -> None:
        stopped: list[int] = []
        assert api.get("/os").is_success
        vultr.stop_at(2, lambda: stopped.append(len(vultr.groups)), how)
        assert api.get("/os").is_success
        if how == "on":
            assert api.post("/firewalls", json={}).is_success
        else:
            for _ in range(2):
                with pytest.raises(httpx.TransportError):
                    api.post("/firewalls", json={})
        assert (len(stopped), len(vultr.groups)) == (1, done)
