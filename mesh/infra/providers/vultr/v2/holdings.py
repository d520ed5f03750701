"""All objects of an account of the kinds that this program makes, each with its mark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.infra.providers.vultr.v2.answers import (
    Address,
    Answer,
    BareMetal,
    Group,
    Instance,
    Server,
    SshKey,
    StartupScript,
)
from mesh.infra.providers.vultr.v2.client import Client
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.mark import Mark


class ObjectKind(StrEnum):
    """What an object is, in the order in which they can be deleted: a server holds its address and
    its firewall group."""

    INSTANCE = "instance"
    BARE_METAL = "bare metal server"
    ADDRESS = "reserved address"
    GROUP = "firewall group"
    KEY = "SSH key"
    SCRIPT = "startup script"


SERVERS = (ObjectKind.INSTANCE, ObjectKind.BARE_METAL)

ROUTES: dict[ObjectKind, tuple[str, str, type[Answer]]] = {
    ObjectKind.INSTANCE: ("/instances", "instance", Instance),
    ObjectKind.BARE_METAL: ("/bare-metals", "bare_metal", BareMetal),
    ObjectKind.ADDRESS: ("/reserved-ips", "reserved_ip", Address),
    ObjectKind.GROUP: ("/firewalls", "firewall_group", Group),
    ObjectKind.KEY: ("/ssh-keys", "ssh_key", SshKey),
    ObjectKind.SCRIPT: ("/startup-scripts", "startup_script", StartupScript),
}
"""By kind: the path in the API, and the name and type of an object in the answer."""


@dataclass(frozen=True, slots=True)
class AccountObject:
    """One object of the account. ``label`` is what the console shows, ``where`` its region and
    address, empty where it has none, ``mark`` None where it has no mark of this program, ``at`` the
    id of the server that an address is attached to."""

    kind: ObjectKind
    id: str
    label: str
    where: str
    mark: Mark | None
    at: str = ""

    @property
    def path(self) -> str:
        """Its path in the API."""
        return f"{ROUTES[self.kind][0]}/{self.id}"


def held(kind: ObjectKind, answer: Answer) -> AccountObject:
    """The object in an answer of the API."""
    if isinstance(answer, Server):
        where = f"{answer.region} {answer.ipv4}".rstrip()
        return AccountObject(kind, answer.id, answer.label, where, Mark.read_tags(answer.tags))
    if isinstance(answer, Address):
        where, mark = f"{answer.region} {answer.subnet}", Mark.read(answer.label)
        return AccountObject(kind, answer.id, answer.label, where, mark, answer.instance_id)
    if isinstance(answer, Group):
        return AccountObject(kind, answer.id, answer.description, "", Mark.read(answer.description))
    assert isinstance(answer, SshKey | StartupScript)
    return AccountObject(kind, answer.id, answer.name, "", Mark.read(answer.name))


def look(client: Client, one: AccountObject) -> AccountObject | None:
    """The same object as it is now; None where it is gone, ApiError where that is unknown."""
    _, name, model = ROUTES[one.kind]
    try:
        return held(one.kind, client.get(one.path, name, model))
    except ApiError as error:
        if error.kind == "gone":
            return None
        raise


@dataclass(frozen=True)
class Holdings:
    """The lists of one account."""

    instances: tuple[Instance, ...] = ()
    bare_metals: tuple[BareMetal, ...] = ()
    addresses: tuple[Address, ...] = ()
    groups: tuple[Group, ...] = ()
    keys: tuple[SshKey, ...] = ()
    scripts: tuple[StartupScript, ...] = ()

    @staticmethod
    def of(client: Client) -> Holdings:
        """What the account holds now; ApiError where it cannot be asked."""
        return Holdings(
            client.instances(),
            client.bare_metals(),
            client.addresses(),
            client.groups(),
            client.ssh_keys(),
            client.startup_scripts(),
        )

    def answers(self) -> Iterator[tuple[ObjectKind, Answer]]:
        """Every object as an answer, in the order of :class:`ObjectKind`."""
        lists: dict[ObjectKind, tuple[Answer, ...]] = {
            ObjectKind.INSTANCE: self.instances,
            ObjectKind.BARE_METAL: self.bare_metals,
            ObjectKind.ADDRESS: self.addresses,
            ObjectKind.GROUP: self.groups,
            ObjectKind.KEY: self.keys,
            ObjectKind.SCRIPT: self.scripts,
        }
        yield from ((kind, answer) for kind in ObjectKind for answer in lists[kind])

    def all(self) -> tuple[AccountObject, ...]:
        """Every object, in the order of :class:`ObjectKind`."""
        return tuple(held(kind, answer) for kind, answer in self.answers())
