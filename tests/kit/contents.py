"""A network with content, its operator, and registries that have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.content import described, folders
from mesh.plan import make
from mesh.publish.contents import ContentDelivery, packed
from mesh.publish.generation import SignedGeneration
from mesh.publish.progress import ProgressLines
from mesh.spec import Spec, load
from mesh.trust.encoding import dump
from tests.kit.registry import Fleet, Live
from tests.kit.stacks import prod

ZONE = """\
$TTL 300
@    IN SOA ns1 host ( {serial}
        3600 600 86400 300 )
     NS ns1
     NS ns2
ns1  A 192.0.2.1
ns2  AAAA 2001:db8::1
www  CNAME ns1
"""


def stack(root: Path, services: Mapping[str, Mapping[str, Any]]) -> Spec:
    """The seed's network with these services, each at an address of its own; ``root`` is the folder
    of its stack file."""
    values = prod()
    values["services"] = {
        each: {**keys, "addresses": {"ipv4": f"192.30.120.{101 + number}"}}
        for number, (each, keys) in enumerate(services.items())
    }
    return load("prod", values, root).spec


@dataclass
class Site:
    """A stack with a blog and a zone, in a folder of the operator's."""

    root: Path
    fleet: Fleet = field(default_factory=Fleet)

    def __post_init__(self) -> None:
        (self.root / "site").mkdir(parents=True)
        (self.root / "zones").mkdir()
        self.page("<h1>Hello</h1>")
        self.zone(1)

    def page(self, text: str) -> None:
        """Another page for the blog."""
        (self.root / "site" / "index.html").write_text(text)

    def zone(self, serial: int) -> None:
        """Another zone."""
        (self.root / "zones" / "example.com.zone").write_text(ZONE.format(serial=serial))

    @property
    def spec(self) -> Spec:
        """Its stack file, read."""
        blog, dns = {"kind": "web", "content": "site"}, {"kind": "dns", "content": "zones"}
        return stack(self.root, {"blog": blog, "dns": dns})

    def generation(self, number: int) -> SignedGeneration:
        """A generation of what the folder has now."""
        spec = self.spec
        self.fleet.plan = make(spec, described(self.root, spec))
        return self.fleet.generation(number)

    def delivery(self, *registries: Live) -> ContentDelivery:
        """What brings the contents of the last generation to registries."""
        clients = {one.url: one.client(self.fleet.operator) for one in registries}
        found = packed(self.fleet.plan, folders(self.root, self.spec))
        return ContentDelivery(found, clients, ProgressLines(lambda _: None))

    def publish(self, number: int, *registries: Live) -> SignedGeneration:
        """A generation with its contents at these registries."""
        made = self.generation(number)
        delivery = self.delivery(*registries)
        delivery.deliver()
        assert not delivery.reasons, delivery.reasons
        for one in registries:
            one.registry.accept_planned(dump(self.fleet.planned()))
            one.registry.accept_packed(dump(made.generation))
        return made

    def digests(self) -> dict[str, str]:
        """The contents of the last generation, by service."""
        found = ((service.name, service.content) for service in self.fleet.plan.services)
        return {name: content.sha256 for name, content in found if content is not None}
