"""The small parts of the agent: checks, whoami, bundle, tunnels, keys, who reads which file."""

from __future__ import annotations

import http.client
import io
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mesh.agent import bundle, file_paths, service_units
from mesh.agent.daemons import KINDS, nftables, wireguard
from mesh.agent.daemons.kind import ChangedNode, FileChange
from mesh.agent.host import CommandFailed, Host
from mesh.agent.keys import own_keys
from mesh.agent.units import Systemd
from mesh.agent.whoami import WhoamiServer, WhoamiServers
from mesh.bird.client import Bird
from mesh.render import node_files, placeholder_facts
from mesh.services.checks.check import Target
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.tcp import TcpCheck
from mesh.trust.encoding import b64
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

HERE = Target(IPv4Address("127.0.0.1"), "lax-vultr-1")

# --- checks --------------------------------------------------------------------------------------


@contextmanager
def answering(reply: bytes, pause: float = 0.0, end: bool = True) -> Iterator[int]:
    """A server on the loopback address that says one thing, slowly if asked."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                for byte in [reply] if not pause else [bytes([one]) for one in reply]:
                    time.sleep(pause)
                    try:
                        connection.sendall(byte)
                    except OSError:
                        break

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nfine", ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 301 Moved\r\n\r\n", "status 301"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
        (b"HTTP/1.1 503 Unavailable\r\n\r\n", "status 503"),
        (b"SSH-2.0-OpenSSH_10\r\n", "the answer is not HTTP"),
        (b"", "closed without an answer"),
        (b"200 OK\r\n", "the answer is not HTTP"),
    ],
)
def test_http_works_with_a_2xx_status_and_else_says_why_not(reply: bytes, problem: str) -> None:
    with answering(reply) as port:
        made = HttpCheck(port=port, path="/whoami", timeout=PATIENCE)
        assert made.problem(HERE) == problem


def test_a_server_that_dribbles_is_not_healthy_and_does_not_hold_the_check() -> None:
    with answering(b"HTTP/1.0 200 OK" * 200, pause=0.05) as port:
        began = time.monotonic()
        problem = HttpCheck(port=port, path="/", timeout=0.3).problem(HERE)
        assert problem == "no answer within 0.3 s"
        assert time.monotonic() - began < PATIENCE  # it would dribble for 150


def test_tcp_is_healthy_where_somebody_listens() -> None:
    with answering(b"") as port:
        assert TcpCheck(port=port, timeout=PATIENCE).problem(HERE) == ""
    gone = TcpCheck(port=port, timeout=PATIENCE).problem(HERE)
    assert gone == "connection refused"


# --- whoami --------------------------------------------------------------------------------------


@pytest.fixture
def whoami() -> Iterator[int]:
    server = WhoamiServer("lax-vultr-1", port=0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/whoami", 200, b"lax-vultr-1\n"),
        ("GET", "/", 404, b""),
        ("GET", "/whoami/", 404, b""),
        ("GET", "/../etc/passwd", 404, b""),
    ],
)
def test_whoami_says_its_node_on_both_families_and_nothing_else(
    whoami: int, address: str, method: str, path: str, status: int, body: bytes
) -> None:
    connection = http.client.HTTPConnection(address, whoami, timeout=PATIENCE)
    connection.request(method, path)
    response = connection.getresponse()
    assert (response.status, response.read()) == (status, body)
    connection.close()


def test_whoami_hangs_up_on_the_oldest_of_too_many(whoami: int) -> None:
    """Silent connections take all the places; the next ones take theirs, and no thread is made."""
    silent = [socket.create_connection(("127.0.0.1", whoami), PATIENCE) for _ in range(300)]
    for connection in silent[: 300 - 256]:
        assert hung_up(connection, PATIENCE)
    assert not hung_up(silent[-1], 0.0)
    assert threading.active_count() < 256 + 50
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("crowd", [200, 300])
def test_whoami_answers_its_check_while_dribblers_hold_connections(whoami: int, crowd: int) -> None:
    """Fewer than there are places, and more; whoever is hung up on comes back at once."""
    check = HttpCheck(port=whoami, path="/whoami", timeout=PATIENCE)
    dribblers = [socket.create_connection(("127.0.0.1", whoami), PATIENCE) for _ in range(crowd)]
    for byte in b"GET /whoami HTTP/1.0":
        for number, connection in enumerate(dribblers):
            try:
                connection.send(bytes([byte]))
            except OSError:
                connection.close()
                dribblers[number] = socket.create_connection(("127.0.0.1", whoami), PATIENCE)
        assert check.problem(HERE) == ""
    for connection in dribblers:
        connection.close()


def test_whoami_has_a_deadline_for_a_request_that_comes_byte_by_byte(
    whoami: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.glass.connections.SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", whoami), PATIENCE) as dribbler:
        gives_up = time.monotonic() + PATIENCE
        while not hung_up(dribbler, 0.05):
            assert time.monotonic() < gives_up
            with suppress(OSError):
                dribbler.send(b"G")


def test_whoami_follows_the_addresses_of_its_configuration(tmp_path: Path) -> None:
    """One address need not be there yet, one is another daemon's until that ends, and an address
    that stays keeps its socket, with the connections that wait there."""
    config = tmp_path / "agent.json"

    def named(*addresses: str) -> None:
        config.write_text(json.dumps({"node": "lax-vultr-1", "whoami_at": addresses}))

    port = free_port()
    with socket.create_server(("127.0.0.2", port)) as other:
        named("127.0.0.1", "127.0.0.2", "192.0.2.7", "2001:db8::7")
        servers = WhoamiServers(config, port)
        try:
            assert not servers.follow()
            assert says(port, "127.0.0.1") == "lax-vultr-1"
            other.close()
            assert servers.follow()
            assert says(port, "127.0.0.2") == "lax-vultr-1"
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as early:
                named("127.0.0.1")
                assert servers.follow()
                early.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
                assert early.recv(4096).startswith(b"HTTP/1.0 200")
            with socket.create_server(("127.0.0.2", port)):
                assert says(port, "127.0.0.1") == "lax-vultr-1"
            config.write_text(json.dumps({"node": "lax-vultr-1"}))
            assert servers.follow()
            assert says(port, "127.0.0.3") == says(port, "::1") == "lax-vultr-1"
        finally:
            servers.close()


def test_where_a_socket_has_one_family_whoami_has_one_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "openbsd7")
    config = tmp_path / "agent.json"
    config.write_text(json.dumps({"node": "lax-vultr-1"}))
    servers = WhoamiServers(config, free_port())
    try:
        assert servers.follow()
        assert says(servers._port, "127.0.0.1") == says(servers._port, "::1") == "lax-vultr-1"
    finally:
        servers.close()


def free_port() -> int:
    """A port that no address here has: none of those that the kernel gives to others meanwhile, and
    another one in each process that asks for one."""
    first = 20_000 + os.getpid() % 10_000
    for port in range(first, first + 1000):
        with (
            suppress(OSError),
            socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True),
        ):
            return port
    raise AssertionError("no port is free")


def test_whoami_tries_an_address_again_and_reads_its_file_when_it_is_told_to(
    tmp_path: Path,
) -> None:
    config = tmp_path / "agent.json"
    config.write_text(json.dumps({"node": "lax-vultr-1", "whoami_at": ["127.0.0.2"]}))
    port = free_port()
    with socket.create_server(("127.0.0.2", port)):
        running = started(config, None, port)
        assert running.stderr is not None
        assert "Address already in use" in running.stderr.readline()
    try:
        until(lambda: answers(port, "127.0.0.2"), 20, "it has the address once that is free")
        config.write_text(json.dumps({"node": "lax-vultr-1", "whoami_at": ["127.0.0.3"]}))
        running.send_signal(signal.SIGHUP)
        until(lambda: answers(port, "127.0.0.3"), 20, "it has another address")
        assert not answers(port, "127.0.0.2")
    finally:
        running.kill()
        running.communicate()


@pytest.mark.root
def test_whoami_goes_on_without_roots_rights_once_it_listens(tmp_path: Path) -> None:
    """On OpenBSD, where root starts it for port 80."""
    config, port = tmp_path / "agent.json", free_port()
    config.write_text(json.dumps({"node": "lax-vultr-1", "whoami_at": ["127.0.0.2"]}))
    running = started(config, "nobody", port)
    try:
        until(lambda: answers(port, "127.0.0.2"), 20, "it answers")
        status = Path(f"/proc/{running.pid}/status")
        nobody = pwd.getpwnam("nobody")
        uids = "\t".join(["Uid:", *[str(nobody.pw_uid)] * 4])
        until(lambda: uids in status.read_text(), 20, "it is nobody's")
        assert "Groups:\t \n" in status.read_text()
        assert answers(port, "127.0.0.2")
    finally:
        running.kill()
        running.communicate()


def started(config: Path, user: str | None, port: int) -> subprocess.Popen[str]:
    """The server in a process of its own."""
    serve = f"from mesh.agent.whoami import serve; serve(Path({str(config)!r}), {user!r}, {port})"
    return subprocess.Popen(
        [sys.executable, "-c", f"from pathlib import Path; {serve}"],
        cwd=bundle.ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def answers(port: int, address: str) -> bool:
    with suppress(OSError):
        return says(port, address) == "lax-vultr-1"
    return False


def says(port: int, address: str) -> str:
    """Who answers there."""
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    connection.request("GET", "/whoami")
    found = connection.getresponse().read().decode().strip()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ("LoadState=loaded\nActiveState=active\n", "active"),
        ("LoadState=loaded\nActiveState=failed\n", "failed"),
        ("LoadState=not-found\nActiveState=inactive\n", "not-found"),
        ("LoadState=masked\nActiveState=inactive\n", "masked"),
        ("", "unknown"),
    ],
)
def test_the_state_of_an_external_unit_is_what_systemd_says(shown: str, wanted: str) -> None:
    assert service_units.state(shown) == wanted


def hung_up(connection: socket.socket, patience: float) -> bool:
    """Whether the server closes a connection within some seconds."""
    connection.settimeout(patience)
    try:
        return connection.recv(1) == b""
    except (TimeoutError, BlockingIOError):
        return False
    except ConnectionError:
        return True


# --- the bundle ----------------------------------------------------------------------------------


def test_the_bundle_is_the_same_whoever_builds_it(tmp_path: Path) -> None:
    """Another process, another umask, another order of files on disk: the same bytes."""
    script = "import os; os.umask(0o77)\nfrom mesh.agent import bundle\n"
    script += "print(bundle.digest(bundle.build()))"
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=bundle.ROOT, capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin", "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert other.stdout.strip() == bundle.digest(bundle.build())


def test_the_bundle_has_what_a_node_needs_and_nothing_of_the_operator() -> None:
    names = zipfile.ZipFile(io.BytesIO(bundle.build())).namelist()
    assert names == sorted(names)
    assert "__main__.py" in names
    assert not [n for n in names if n.startswith(("mesh/publish", "mesh/plan", "mesh/infra"))]
    folder = bundle.ROOT / "mesh" / "glass"
    pages = {path for path in folder.rglob("*") if path.suffix in (".html", ".css", ".svg")}
    further = {str(path.relative_to(bundle.ROOT)) for path in pages}
    assert {name for name in names if not name.endswith(".py")} == further


def test_what_is_imported_later_is_of_the_bundle_that_was_started(tmp_path: Path) -> None:
    """An update points the link at another one while this one goes on."""
    (tmp_path / "bundles").mkdir()
    for name, content in (("one", bundle.build()), ("other", b"")):
        (tmp_path / f"bundles/{name}.pyz").write_bytes(content)
    (link := tmp_path / "bundle.pyz").symlink_to("bundles/one.pyz")
    script = f"""import contextlib, os, runpy, sys
with contextlib.suppress(SystemExit):
    runpy.run_path({str(link)!r}, run_name="__main__")
os.unlink({str(link)!r})
os.symlink("bundles/other.pyz", {str(link)!r})
import mesh.glass.site
print(mesh.glass.site.__file__)"""
    assert printed(script, tmp_path) == f"{tmp_path.resolve()}/bundles/one.pyz/mesh/glass/site.py"


@pytest.mark.parametrize(
    ("started", "needless"),
    [
        ("mesh.agent.agent", "starlette sqlalchemy uvicorn httpx jinja2 mesh.plan"),
        ("mesh.agent.systems", "mesh.agent.openbsd"),
        ("mesh.glass.serve", "jinja2 mesh.glass.site mesh.glass.answering"),
    ],
)
def test_a_start_imports_nothing_that_is_needed_later_or_elsewhere(
    started: str, needless: str
) -> None:
    """Every import is paid for at each start, by nodes that share a processor."""
    script = f"import sys, {started}\nprint([m for m in {needless.split()} if m in sys.modules])"
    assert printed(script, bundle.ROOT) == "[]"


def printed(script: str, folder: Path) -> str:
    """What a Python script prints that runs in a folder, by itself."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# --- files and who reads them --------------------------------------------------------------------


def test_every_rendered_file_has_a_daemon_that_reads_it() -> None:
    plan = plan_of(prod())
    for files in node_files(plan, placeholder_facts(plan)).values():
        assert not [
            file.path for file in files.files if not any(kind.has(file.path) for kind in KINDS)
        ]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/cron.d/a",
        "/etc/bird/../passwd",
        "/etc/systemd/system/ssh.service",
        "/etc/systemd/system/bird.service",
        "/etc/ssh/sshd_config",
        "/root/.ssh/authorized_keys",
        "/etc/anycast-mesh/seed.json",
        "/var/lib/anycast-mesh/keys/identity.key",
        "/etc/wireguard/wg0.conf",
        "/etc/sysctl.d/99-other.conf",
    ],
)
def test_a_generation_reaches_no_file_but_those_of_its_daemons(path: str) -> None:
    kind = next((one for one in KINDS if one.has(path)), None)
    assert kind is None or ".." in path


GOOD = """[Interface]
Address = fe80::1/64
ListenPort = 51821
MTU = 1420
Table = off
PostUp = wg set %i private-key /var/lib/anycast-mesh/keys/wireguard.key

[Peer]
PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
Endpoint = 203.0.113.2:51821
AllowedIPs = 0.0.0.0/0, ::/0
"""


def test_a_tunnel_as_it_is_rendered_is_understood() -> None:
    tunnel = wireguard.parsed("wg", GOOD)
    assert dict(tunnel.peers[0])["Endpoint"] == "203.0.113.2:51821"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MTU = 1420", "PostDown = rm -rf /"),
        ("MTU = 1420", "PreUp = id"),
        ("MTU = 1420", "DNS = 192.0.2.1"),
        ("MTU = 1420", "PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("MTU = 1420", "MTU = -1"),
        ("MTU = 1420", "MTU 1420"),
        ("Table = off", "Table = auto"),
        ("wireguard.key\n", "wireguard.key; id\n"),
        ("MTU = 1420", "PostUp = ip link set dev %i alias a;id"),
        ("MTU = 1420", "PostUp = ip link set dev eth0 alias nyc-hetzner-1"),
        ("51821\nMTU", "65536\nMTU"),
        ("AAA=", "AAA"),
        ("AAA=", "AA=="),
        ("203.0.113.2:51821", "0.0.0.0:51821"),
        ("203.0.113.2:51821", "example.net:51821"),
        ("203.0.113.2:51821", "203.0.113.2"),
        ("0.0.0.0/0", "10.0.0.1/8"),
        ("[Peer]\n", "[Peers]\n"),
        ("[Interface]\n", ""),
        ("PublicKey", "PresharedKeyFile"),
    ],
)
def test_a_tunnel_that_says_anything_else_is_refused(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(CommandFailed):
        wireguard.parsed("wg", GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "commands"),
    [
        ("MTU = 1420", "MTU = 1320", ["ip link set dev wg-ord-vultr-1 mtu 1320"]),
        (
            "203.0.113.2:51821",
            "203.0.113.2:51831",
            [f"wg set wg-ord-vultr-1 peer {b64(bytes(32))} endpoint 203.0.113.2:51831"],
        ),
        ("51821\nMTU", "51831\nMTU", ["wg syncconf wg-ord-vultr-1 /dev/stdin"]),
        ("0.0.0.0/0, ::/0", "0.0.0.0/0", ["wg syncconf wg-ord-vultr-1 /dev/stdin"]),
    ],
    ids=["MTU", "the peer's port", "its own port", "what the peer may send"],
)
def test_a_tunnel_that_changes_is_not_restarted(
    tmp_path: Path, old: str, new: str, commands: list[str]
) -> None:
    """Its sessions would be lost with it."""
    (tmp_path / "ran").touch()
    for tool in ("wg", "ip", "systemctl"):
        (tmp_path / tool).write_text('#!/bin/sh\necho "${0##*/}" "$@" >>"${0%/*}/ran"\n')
        (tmp_path / tool).chmod(0o755)
    host = Host(tmp_path, ("env", f"PATH={tmp_path}:/usr/bin:/bin"))
    unit = "anycast-mesh-tunnel@wg-ord-vultr-1.service"
    node = ChangedNode(
        host, Systemd(host), Bird(host.path("/bird.ctl")), (unit,), frozenset({unit})
    )
    host.write(file_paths.WIREGUARD_KEY, b64(bytes(32)).encode(), 0o600)
    path = "/etc/wireguard/wg-ord-vultr-1.conf"
    assert old in GOOD
    change = FileChange(path, GOOD.encode(), GOOD.replace(old, new).encode())
    wireguard.KIND.apply(node, [change])
    assert (tmp_path / "ran").read_text().splitlines() == commands


@pytest.mark.parametrize("by", [1, -1], ids=["up", "down"])
def test_tunnels_whose_ports_move_by_one_wait_until_theirs_is_free(tmp_path: Path, by: int) -> None:
    """The kernel refuses a port that another tunnel listens on."""
    ports = {"wg-a": 51823, "wg-b": 51820, "wg-c": 51821, "wg-d": 51822}
    for name, port in ports.items():
        (tmp_path / str(port)).write_text(name)
    (tmp_path / "wg").write_text(
        "#!/bin/sh\n"
        "cd ${0%/*}; port=$(sed -n 's/^ListenPort = //p')\n"
        "[ ! -e $port ] && rm $(grep -lx $2 518*) && printf $2 >$port\n"
    )
    (tmp_path / "wg").chmod(0o755)
    host = Host(tmp_path, ("env", f"PATH={tmp_path}:/usr/bin:/bin"))
    host.write(file_paths.WIREGUARD_KEY, b64(bytes(32)).encode(), 0o600)
    units = tuple(f"anycast-mesh-tunnel@{name}.service" for name in ports)
    bird = Bird(host.path("/bird.ctl"))
    node = ChangedNode(host, Systemd(host), bird, units, frozenset(units))

    def file(port: int) -> bytes:
        return GOOD.replace("51821\nMTU", f"{port}\nMTU").encode()

    changes = [
        FileChange(f"/etc/wireguard/{name}.conf", file(port), file(port + by))
        for name, port in ports.items()
    ]
    wireguard.KIND.apply(node, changes)
    for name, port in ports.items():
        assert (tmp_path / str(port + by)).read_text() == name


@pytest.mark.parametrize(
    ("right", "verdict", "lets_in"),
    [
        (22, {"accept": None}, True),
        ({"set": [22, 80]}, {"accept": None}, True),
        (22, {"drop": None}, False),
        (2222, {"accept": None}, False),
        ({"set": [80, 443]}, {"accept": None}, False),
    ],
)
def test_a_ruleset_is_searched_for_the_operators_way_in(
    right: object, verdict: dict[str, None], lets_in: bool
) -> None:
    match = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                       "right": right}}  # fmt: skip
    rules = [{"rule": {"expr": [match, verdict]}}, {"table": {}}]
    assert nftables.lets_in_ssh(json.dumps({"nftables": rules})) is lets_in


def test_keys_are_made_once_and_for_root_only(tmp_path: Path) -> None:
    first = own_keys(Host(tmp_path))
    assert own_keys(Host(tmp_path)) == first
    folder = tmp_path / "var/lib/anycast-mesh/keys"
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        "identity.key": 0o600,
        "sealing.key": 0o600,
        "wireguard.key": 0o600,
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first.identity not in repr(first)
    # What a power cut left half written is made anew.
    (folder / "identity.key").write_text("AAAA")
    assert own_keys(Host(tmp_path)).identity not in ("AAAA", first.identity)
