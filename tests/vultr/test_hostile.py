"""What an attacker, or an API in a bad hour, would like: the key, a secret kept, an object taken
that is somebody else's, a living server believed gone."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from mesh.infra.dynamic.vultr.account import account
from mesh.infra.dynamic.vultr.address import AddressProvider
from mesh.infra.dynamic.vultr.firewall import FirewallProvider
from mesh.infra.dynamic.vultr.instance import InstanceProvider
from mesh.infra.dynamic.vultr.key import KeyProvider
from mesh.infra.providers.vultr.v2 import ApiError, Mark, connect
from tests.kit.clouds.deployment import KEYS
from tests.kit.vultr_api import KEY, Fault, Vultr
from tests.kit.vultr_api.faults import Answer
from tests.kit.wait import PATIENCE

OURS = "ab12cd34"
NODE = {"identity": OURS, "node": "lax-vultr-1", "region": "lax"}

ECHOES = {
    "400": Answer(400, {"error": f"bad token {KEY}", "status": 400}),
    "401": Answer(401, {"error": f"Invalid API token {KEY}", "status": 401}),
    "403": Answer(403, {"error": f"Unauthorized {KEY}", "status": 403}),
    "403 of an address": Answer(403, {"error": f"Unauthorized IP address: {KEY}", "status": 403}),
    "404": Answer(404, {"error": f"no {KEY} here", "status": 404}),
    "429": Answer(429, {"error": KEY, "status": 429}, {"Retry-After": "0.1"}),
    "500": Answer(500, {"error": f"bad token {KEY}", "status": 500}),
    "500 as a web page": Answer(500, f"<html><title>{KEY}</title></html>"),
    "a redirect": Answer(302, "", {"Location": f"https://example.net/{KEY}"}),
    "no list": Answer(200, {"reserved_ips": KEY}),
    "a field of another type": Answer(200, {"reserved_ips": [{"id": [KEY]}]}),
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES)
def test_an_answer_that_holds_the_key_does_not_show_it(vultr: Vultr, answer: Answer) -> None:
    """A proxy or an error page may repeat what it was asked with."""
    vultr.fail(Fault("GET", "/reserved-ips", answer, times=99))
    with connect(KEY, retry_seconds=0.5) as client, pytest.raises(ApiError) as caught:
        client.addresses()
    assert KEY not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


def test_a_proxy_gets_no_key_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint on loopback is asked by plain HTTP, and by no detour."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def listen() -> None:
            try:
                connection, _ = proxy.accept()
            except OSError:
                return
            heard.append(connection.recv(4096))
            connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        with connect(KEY, "http://127.0.0.1:9/v2") as client, pytest.raises(ApiError):
            client.account()
        proxy.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who waits in accept()
        thread.join(PATIENCE)
    assert heard == []


SHORT = {
    "addresses": (AddressProvider, NODE, "/reserved-ips", "reserved_ips"),
    "groups": (FirewallProvider, {"identity": OURS, "rules": []}, "/firewalls", "firewall_groups"),
    "keys": (KeyProvider, {"identity": OURS, "ssh_key": KEYS[0]}, "/ssh-keys", "ssh_keys"),
}


@pytest.mark.parametrize(("provider", "props", "path", "name"), SHORT.values(), ids=SHORT)
def test_what_a_short_list_lacks_is_not_believed_gone(
    vultr: Vultr, provider: type[Any], props: dict[str, Any], path: str, name: str
) -> None:
    """A refresh would drop it from the state, and the next update make another one."""
    made = provider().create(dict(props))
    empty = {name: [], "meta": {"total": 0, "links": {"next": "", "prev": ""}}}
    vultr.fail(Fault("GET", path, Answer(200, empty), times=1))
    assert provider().read(made.id, made.outs).id == made.id


def test_nor_is_a_server(vultr: Vultr) -> None:
    made = _server(vultr)
    empty = {"instances": [], "meta": {"total": 0, "links": {"next": "", "prev": ""}}}
    vultr.fail(Fault("GET", "/instances", Answer(200, empty), times=1))
    assert InstanceProvider().read(made.id, made.outs).id == made.id
    vultr.lose(made.id)
    vultr.fail(Fault("GET", "/instances", Answer(200, empty), times=1))
    assert InstanceProvider().read(made.id, made.outs).id == ""


def test_a_refresh_with_an_old_key_says_where_it_has_it_from(vultr: Vultr) -> None:
    """Seen of the engine: a refresh is configured by the state, not by the stack file."""
    made: Any = AddressProvider().create(dict(NODE))
    vultr.key = "another"
    account().listings.addresses.forget()
    with pytest.raises(ApiError, match="pulumi refresh --run-program") as caught:
        AddressProvider().read(made.id, made.outs)
    assert caught.value.kind == "key"


def _server(vultr: Vultr) -> Any:
    address = AddressProvider().create(dict(NODE))
    group = FirewallProvider().create({"identity": OURS, "rules": []})
    props = {
        **NODE, "plan": "vc2-1c-1gb", "os_id": 2625, "address_id": address.id,
        "firewall_group_id": group.id, "ssh_key_ids": [], "enable_ipv6": True,
        "ddos_protection": False, "hostname": "lax-vultr-1", "tags": ["anycast-mesh", "prod"],
        "user_data": "#cloud-config\n",
    }  # fmt: skip
    return InstanceProvider().create(props)


def test_no_password_and_no_console_is_kept(vultr: Vultr) -> None:
    """POST answers a default password, every GET a console address with a token."""
    made = _server(vultr)
    read = InstanceProvider().read(made.id, made.outs)
    updated = InstanceProvider().update(made.id, read.outs or {}, made.outs)
    for outs in (made.outs, read.outs, updated.outs):
        text = json.dumps(outs)
        assert "default-password" not in text
        assert "TOKEN-OF" not in text


FOREIGN_TAGS = {
    "no mark": ["anycast-mesh", "prod"],
    "another identity": list(Mark("ffff0000", "lax-vultr-1", "instance").tags()),
    "two identities": [*Mark(OURS, "lax-vultr-1", "instance").tags(), "anycast-mesh-ffff0000"],
    "another node": list(Mark(OURS, "mia-vultr-1", "instance").tags()),
    "half a mark": [f"anycast-mesh-{OURS}"],
}


@pytest.mark.parametrize("tags", FOREIGN_TAGS.values(), ids=FOREIGN_TAGS)
def test_a_server_that_is_not_this_nodes_is_not_taken(vultr: Vultr, tags: list[str]) -> None:
    """It has this node's label, and stands in its region."""
    with connect(KEY) as client:
        body = {"region": "lax", "plan": "vc2-1c-1gb", "os_id": 2625, "label": "lax-vultr-1",
                "hostname": "lax-vultr-1", "tags": tags}  # fmt: skip
        client.send("POST", "/instances", body)
    (foreign,) = vultr.servers
    assert _server(vultr).id != foreign
    assert vultr.servers[foreign].tags == tags
