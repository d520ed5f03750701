"""Delivers a node to an existing OpenBSD host, and removes it, by plain sh.

The host gets the same user data as a server at a provider. They lay their files down; then the
firewall is loaded, and undone unless a new connection shows that it lets the operator in; then the
same bootstrap runs that runs elsewhere. It fetches the bundle from a registry.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files

from mesh.spec.problems import Problem
from mesh.ssh import openbsd_preflight, preflight
from mesh.ssh.connection import HostConnection, Target, connected, invalid_answer
from mesh.ssh.load import HOME, Delivered, Load, Progress, new_instance, now
from mesh.ssh.payload import Payload, shell_payload
from mesh.ssh.problems import DeliveryError, of_another_network

_FOLDER = f"{HOME}/state/delivery"
_RECEIVER = f"{_FOLDER}/receiver.sh"
_PUT = 'umask 077; mkdir -p "$1" && cat >"$2.new" && mv -f "$2.new" "$2" && echo ok'
SECONDS = 300.0
"""For what the host is asked to do: a removal waits for daemons to end."""


def receiver_script() -> bytes:
    """The program that runs on the host."""
    return files("mesh.ssh").joinpath("receiver.sh").read_bytes()


async def deliver(target: Target, load: Load, progress: Progress) -> Delivered:
    """Delivers a node to its host; continues an interrupted delivery, and does nothing after a
    complete one."""
    parts = shell_payload(load.user_data)
    async with connected(target) as link:
        progress(f"{target.node}: logged in as {target.user} at {target.address}")
        host = await _as_root(link)
        record = await _own_record(host, parts)
        if record.get("done") == "yes":
            if record.get("digest") == parts.digest:
                progress(f"{target.node}: it is already there")
                return Delivered(record["instance"], now(), ())
            progress(f"{target.node}: removing an earlier delivery first")
            await host.do("remove")
            record = {}
        await _examined(link, load)
        if record:
            progress(f"{target.node}: continuing an interrupted delivery")
        instance = await _lay_down(host, parts, load)
        await host.do("keys", target.user)
        seconds = (await host.do("close")).get("seconds", "")
        progress(f"{target.node}: firewall closed; undone in {seconds} s without a log-in")
    # A new connection with the same host key shows that the firewall lets the operator in.
    async with connected(replace(target, host_keys=(link.shown,))) as again:
        host = _Host(again)
        await host.do("settle")
        await host.do("start")
    progress(f"{target.node}: {len(parts.items)} files delivered, its bootstrap runs")
    return Delivered(instance, now(), tuple(item.path for item in parts.items))


async def withdraw(target: Target, instance_id: str, progress: Progress) -> None:
    """Removes that instance from its host; leaves another one alone."""
    async with connected(target) as link:
        host = await _as_root(link)
        record = await host.do("look")
        if record.get("instance", instance_id) != instance_id:
            progress(f"{target.node}: the host is now {record['instance']}, which is left alone")
            return
        progress(f"{target.node}: stopping its services, restoring what was there")
        await host.do("remove")


async def is_left(target: Target) -> bool:
    """Whether the host has a delivery of this node, complete or not."""
    async with connected(target) as link:
        return (await (await _as_root(link)).do("look")).get("node") == target.node


@dataclass(frozen=True)
class _Host:
    """The receiver on a host."""

    link: HostConnection

    async def put(self, path: str, content: bytes) -> None:
        """Writes a file that only root reads."""
        said = await self._root("sh", "-c", _PUT, "sh", _FOLDER, path, given=content)
        if said.split()[-1:] != ["ok"]:
            raise self._refused("write", said)

    async def do(self, verb: str, *words: str) -> Mapping[str, str]:
        """What the receiver answers, by word. Raises DeliveryError where it refuses, or fails."""
        receiver = receiver_script()
        said = await self._root("sh", "-s", "--", verb, *words, given=receiver)
        lines = [line.partition(" ") for line in said.splitlines()]
        answer = {word: value.strip() for word, _, value in lines}
        if "refused" in answer:
            raise self._refused(verb, answer["refused"])
        if "ok" not in answer:
            raise self._refused(verb, said)
        return answer

    async def _root(self, *command: str, given: bytes = b"") -> str:
        doas = () if self.link.target.user == "root" else ("doas", "-n")
        return await self.link.fed(shlex.join((*doas, *command)), given, SECONDS)

    def _refused(self, verb: str, said: str) -> DeliveryError:
        target, text = self.link.target, " ".join(said.split())[:400]
        return DeliveryError(
            Problem(
                target.key("ipv4"), target.address, f"the host refuses {verb!r}: {text}",
                "correct that on the host, then run `pulumi up` again: it continues from there",
            )
        )  # fmt: skip


async def _as_root(link: HostConnection) -> _Host:
    """The receiver, after checking that it can be root on the system that it is for."""
    answers = await openbsd_preflight.ask(link)
    refused = tuple(openbsd_preflight.unusable(link.target, answers))
    if refused:
        raise DeliveryError(*refused)
    return _Host(link)


async def _own_record(host: _Host, parts: Payload) -> Mapping[str, str]:
    """The record of an earlier delivery of this node; empty on a fresh host."""
    target, found = host.link.target, await host.do("look")
    if "node" not in found:
        if "born" in found:
            raise of_another_network(target, None)
        return {}
    if (found["node"], found.get("operator")) != (parts.node, parts.operator):
        raise of_another_network(target, found["node"])
    return found


async def _examined(link: HostConnection, load: Load) -> None:
    answers = await openbsd_preflight.ask(link)
    unfit = openbsd_preflight.problems(link.target, answers, load.ipv6, load.admin)
    if unfit:
        raise DeliveryError(*unfit)


async def _lay_down(host: _Host, parts: Payload, load: Load) -> str:
    """Records what is there, and writes the files; the instance's id."""
    begun = await host.do("begin", parts.node, parts.operator, new_instance(), parts.digest)
    instance = begun.get("instance", "")
    if not preflight.instance({"instance": [instance]}):
        raise invalid_answer(host.link.target, "'begin'")
    await host.put(_RECEIVER, receiver_script())
    await host.put(f"{_FOLDER}/user-data", load.user_data.encode())
    await host.do("user_data", "files")
    return instance
