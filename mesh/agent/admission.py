"""Whether a ruleset admits callers to a port, tested with connections.

A node reaches its own address over lo, which every ruleset of ours accepts. So the ruleset is
loaded in a network namespace of its own, behind an interface with the uplink's name, and the
callers connect from another namespace, each from its own address: their packets pass the same
chains as on the node, and nothing on the node changes.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from mesh import netns
from mesh.agent.host import CommandFailed, Host
from mesh.agent.network import Uplink

CONNECTS_WITHIN = 3.0
"""Seconds for all connections: the kernel repeats a SYN after one second, and after two more."""
_OUTSIDE = "callers"


class NotTried(Exception):
    """The test is not possible: no namespaces, or a ruleset that needs more than they have."""


def shut_out(
    host: Host, ruleset: str, uplink: Uplink, callers: Sequence[str], port: int
) -> tuple[str, ...]:
    """The callers (IPv4 addresses) whose TCP connections to that port of the uplink's address an
    nft ruleset does not accept. Raises :class:`NotTried`."""
    try:
        # A thread cannot leave its namespace; the namespace ends with its last socket.
        with ThreadPoolExecutor(1) as node, ThreadPoolExecutor(1) as outside, ExitStack() as held:
            node.submit(netns.leave).result()
            outside.submit(netns.leave).result()
            there = outside.submit(threading.get_native_id).result()
            node.submit(_wire_node, host, uplink, callers, there).result()
            outside.submit(_wire_callers, host, uplink, callers).result()
            node.submit(host.must, "nft", "-f", "-", given=ruleset).result()
            listening = held.enter_context(node.submit(_socket).result())
            listening.bind((uplink.address, port))
            listening.listen(len(callers))
            lines = {
                caller: held.enter_context(outside.submit(_socket).result()) for caller in callers
            }
            return _unconnected(lines, (uplink.address, port))
    except (CommandFailed, OSError) as error:
        raise NotTried(str(error)) from None


def _wire_node(host: Host, uplink: Uplink, callers: Iterable[str], outside: int) -> None:
    name = uplink.interface
    _ip(
        host,
        "link set lo up",
        f"link add {name} type veth peer name {_OUTSIDE} netns {outside}",
        f"address add {uplink.address}/32 dev {name}",
        f"link set {name} up",
        *(f"route add {caller}/32 dev {name}" for caller in callers),
    )


def _wire_callers(host: Host, uplink: Uplink, callers: Iterable[str]) -> None:
    _ip(
        host,
        *(f"address add {caller}/32 dev {_OUTSIDE}" for caller in callers),
        f"link set {_OUTSIDE} up",
        f"route add {uplink.address}/32 dev {_OUTSIDE}",
    )


def _ip(host: Host, *lines: str) -> None:
    host.must("ip", "-batch", "-", given="\n".join(lines) + "\n")


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _unconnected(lines: dict[str, socket.socket], to: tuple[str, int]) -> tuple[str, ...]:
    waiting = set(lines)
    with selectors.DefaultSelector() as selector:
        for caller, line in lines.items():
            line.setblocking(False)
            line.bind((caller, 0))
            line.connect_ex(to)
            selector.register(line, selectors.EVENT_WRITE, caller)
        deadline = time.monotonic() + CONNECTS_WITHIN
        while waiting and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fileobj)
                # A refused connection is done too, but not admitted.
                if lines[key.data].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    waiting.discard(key.data)
            if not selector.get_map():
                break
    return tuple(caller for caller in lines if caller in waiting)
