"""What the operator's ``ssh -L`` reaches on a node, by its real sshd and the real client."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from mesh.lab import namespaces
from mesh.render import File, node_files, placeholder_facts
from tests.kit.machine import Machine
from tests.kit.namespaces import spaces
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.image
NODE, GLASS, OTHER, HERE = "lax-vultr-1", 8080, 9000, 18080
OPTIONS = (
    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
    "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO", "-o", "ConnectTimeout=10",
)  # fmt: skip
LISTEN = """
import http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
http.server.BaseHTTPRequestHandler.do_GET = lambda self: (
    self.send_response(200), self.end_headers(), self.wfile.write(b"the one at %d" % PORT))
PORT = int(sys.argv[1])
Server(("::", PORT), http.server.BaseHTTPRequestHandler).serve_forever()
"""


SOCKET = """
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("/run/a.ctl")
server.listen()
while True:
    connection = server.accept()[0]
    connection.recv(1000)
    connection.sendall(b"the socket")
    connection.close()
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A node with its sshd, where something answers at the looking glass's port and at another."""
    with spaces("forward", "node") as (namespace,), ExitStack() as ends:
        namespaces.ip(["link set lo up"], namespace)
        machine = Machine(tmp_path_factory.mktemp("node"), namespace)
        ends.callback(machine.close)
        plan = plan_of(prod())
        files = node_files(plan, placeholder_facts(plan))[NODE].files
        machine.put([
            *(file for file in files if file.path.startswith("/etc/ssh/")),
            File("/root/listen.py", LISTEN),
        ])  # fmt: skip
        machine.output("sh", "-c", "mkdir -p /run/sshd /root/.ssh; ssh-keygen -qA")
        machine.output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
        machine.output("sh", "-c", "cat /root/.ssh/*.pub >/root/.ssh/authorized_keys")
        machine.output("chmod", "-R", "go=", "/root/.ssh")
        machine.output("/usr/sbin/sshd")
        for port in (GLASS, OTHER):
            ends.enter_context(running(machine, "python3", "/root/listen.py", str(port)))
            until(partial(fetched, machine, f"http://127.0.0.1:{port}/"), 20, "it listens")
        yield machine


@contextmanager
def running(machine: Machine, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command of the machine, until it is not needed any more."""
    process = subprocess.Popen(
        [*machine.enter, *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        # nsenter hands signals to nobody.
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
        process.communicate()


def fetched(machine: Machine, url: str, *options: str) -> str:
    """What answers there; empty for nothing."""
    return machine.output("curl", "-gsm", f"{PATIENCE:g}", *options, url, check=False)


@contextmanager
def forwarding(machine: Machine, *options: str) -> Iterator[subprocess.Popen[str]]:
    """An ``ssh -N`` with these options, once it is logged in or has ended."""
    with running(machine, "ssh", "-N", *OPTIONS, *options, "root@127.0.0.1") as process:
        until(lambda: process.poll() is not None or listens(machine), 20, "ssh is ready")
        yield process


def listens(machine: Machine) -> bool:
    """Whether the client's end of a forwarding is there."""
    return f":{HERE} " in machine.output("ss", "-Hltn")


@pytest.mark.parametrize("target", ["127.0.0.1", "[::1]", "localhost"])
def test_the_looking_glass_of_the_node_is_reached(node: Machine, target: str) -> None:
    with forwarding(node, "-L", f"{HERE}:{target}:{GLASS}"):
        assert fetched(node, f"http://127.0.0.1:{HERE}/") == f"the one at {GLASS}"


OTHERS = {
    "another port of the node": f"127.0.0.1:{OTHER}",
    "the same in IPv6": f"[::1]:{OTHER}",
    "its sshd": "127.0.0.1:22",
    "the port at another address of its own": f"127.0.0.2:{GLASS}",
    "the port at another node": f"10.10.10.2:{GLASS}",
    "the metadata service": "169.254.169.254:80",
}


@pytest.mark.parametrize("target", OTHERS.values(), ids=OTHERS)
def test_nothing_else_is(node: Machine, target: str) -> None:
    with forwarding(node, "-L", f"{HERE}:{target}"):
        assert fetched(node, f"http://127.0.0.1:{HERE}/") == ""
    said = node.output(
        "sh", "-c", f"ssh {' '.join(OPTIONS)} -W {target} root@127.0.0.1 </dev/null 2>&1",
        check=False,
    )  # fmt: skip
    assert "administratively prohibited" in said


def test_no_socket_of_the_node_is(node: Machine) -> None:
    """As BIRD's own control socket, by which sessions are ended."""
    with running(node, "python3", "-c", SOCKET), forwarding(node, "-L", f"{HERE}:/run/a.ctl"):
        until(lambda: node.output("ls", "/run/a.ctl", check=False) != "", 20, "it is there")
        assert fetched(node, f"http://127.0.0.1:{HERE}/", "--http0.9") == ""


def test_no_port_is_forwarded_from_the_node(node: Machine) -> None:
    with forwarding(node, "-R", f"{HERE}:127.0.0.1:{OTHER}") as process:
        assert process.wait(PATIENCE) != 0
        assert process.stderr is not None
        assert "remote port forwarding failed" in process.stderr.read()


def test_it_is_no_proxy_to_elsewhere(node: Machine) -> None:
    with forwarding(node, "-D", str(HERE)):
        proxy = ("--socks5", f"127.0.0.1:{HERE}")
        assert fetched(node, f"http://127.0.0.1:{GLASS}/", *proxy) == f"the one at {GLASS}"
        assert fetched(node, f"http://127.0.0.1:{OTHER}/", *proxy) == ""
