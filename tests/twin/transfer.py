"""A transfer of 200 kB over TCP in the lab, with every ICMP message lost on its way to the client.

The node's side runs on the node by its own Python, on a port that the firewall opens to services.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.lab.inside import inside
from mesh.lab.lab_files import files_of
from tests.kit.wait import patience
from tests.twin.conftest import Twin

SIZE, PORT = 200_000, 443
LIFE = 900
"""Seconds after which a server ends by itself."""

# First byte: "d" asks for SIZE bytes, "u" brings them and asks how many came, "s" asks from what
# address; so does every datagram.
_SERVER = """
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listening = socket.socket(family)
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind((sys.argv[1], int(sys.argv[2])))
listening.listen()
datagrams = socket.socket(family, socket.SOCK_DGRAM)
datagrams.bind((sys.argv[1], int(sys.argv[2])))
def answer():
    while True:
        _, peer = datagrams.recvfrom(100)
        datagrams.sendto(peer[0].encode(), peer)
threading.Thread(target=answer, daemon=True).start()
print("ready", flush=True)
size = int(sys.argv[3])
while True:
    peer, source = listening.accept()
    peer.settimeout(60)
    with peer:
        asked = peer.recv(1)
        if asked == b"d":
            peer.sendall(bytes(size))
        elif asked == b"s":
            peer.sendall(source[0].encode())
        else:
            left = size
            while left and (chunk := peer.recv(min(left, 65536))):
                left -= len(chunk)
            peer.sendall(str(size - left).encode())
"""

_CLIENT = """
import socket, sys
address, port, size, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with socket.create_connection((address, port), timeout=60) as peer:
    peer.sendall(way[0].encode())
    if way == "upload":
        peer.sendall(bytes(size))
        print(peer.recv(100).decode())
    else:
        got = 0
        while chunk := peer.recv(65536):
            got += len(chunk)
        print(got)
"""

_SEEN = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((address, port), timeout=60) as peer:
    peer.sendall(b"s")
    print(peer.recv(100).decode())
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as ask:
    ask.settimeout(1)
    for _ in range(60):
        ask.sendto(b"s", (address, port))
        try:
            print(ask.recv(100).decode())
            break
        except TimeoutError:
            pass
"""

_LOSE_ICMP = """
table inet lost {
    chain input {
        type filter hook input priority -300;
        meta l4proto icmp drop
        icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } drop
    }
}
"""


@contextmanager
def server(twin: Twin, node: str, address: str, port: int = PORT) -> Iterator[None]:
    """A server on the node, until the end of the block."""
    command = ["timeout", str(LIFE), "python3", "-c", _SERVER, address, str(port), str(SIZE)]
    with subprocess.Popen(
        inside(files_of(twin.name), node, command), env=twin.environment,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            pattern = f"sys.argv.*{address}|{address} {port}"
            twin.exec(node, "pkill", "-f", pattern, check=False)
            process.wait(timeout=LIFE)


def upload(twin: Twin, box: str, address: str, port: int = PORT) -> int:
    """How many of SIZE bytes arrived at the server."""
    return _transfer(twin, box, address, port, "upload")


def download(twin: Twin, box: str, address: str, port: int = PORT) -> int:
    """How many of SIZE bytes arrived at the client."""
    return _transfer(twin, box, address, port, "download")


def seen(twin: Twin, box: str, address: str) -> list[str]:
    """The address of the client that the server sees: over TCP and over UDP."""
    return twin.exec(box, "python3", "-c", _SEEN, address, str(PORT)).split()


def _transfer(twin: Twin, box: str, address: str, port: int, way: str) -> int:
    lose = ("sh", "-c", 'echo "$0" | nft -f -', _LOSE_ICMP)
    twin.exec(box, *lose)
    try:
        started = time.monotonic()
        answer = twin.exec(box, "python3", "-c", _CLIENT, address, str(port), str(SIZE), way)
        # With a wrong segment size it never ends.
        assert time.monotonic() - started < patience(60)
        return int(answer)
    finally:
        twin.exec(box, "nft", "delete", "table", "inet", "lost")
