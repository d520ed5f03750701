"""The queries to AWS at every preview, before anything is made: what each region of the stack
offers, and whether the credentials are valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from mesh.infra.ending import is_ending
from mesh.infra.providers.aws import firewall, sdk, user_data
from mesh.infra.providers.protocol import StackConfiguration
from mesh.plan import Node, Plan
from mesh.spec import Problem
from mesh.spec.problems import KEEPS
from mesh.spec.providers.aws import FACTS, ExistingVpc, Options

DEBIAN = "136693071363"
"""The account that publishes Debian's own images (wiki.debian.org, "Cloud/AmazonEC2Image")."""

OPTIONS = "mesh:providers.aws"


@dataclass(frozen=True)
class Answers:
    """The answers for one region: the id of the image, the zone of the nodes' subnet, which has
    every size that is asked for, and the subnet's IPv4 network."""

    place: str
    image: str
    zone: str | None
    network: IPv4Network


# The driver is made after the queries, in the same run: AWS is asked once.
_answers: ContextVar[Mapping[str, Answers]] = ContextVar("answers")


def answers(configuration: StackConfiguration) -> Mapping[str, Answers]:
    """The answers of this run by region; LookupError where AWS was not asked. A run that ends the
    network makes nothing in a region, and goes on without its answer."""
    if is_ending():
        network = options_of(configuration).network
        nothing = {each: Answers(each, "", None, network) for each in by_place(configuration.plan)}
        return {**nothing, **_answers.get({})}
    return _answers.get()


def problems(configuration: StackConfiguration) -> Iterator[Problem]:
    """What AWS would refuse of this stack. Its answers are kept for the driver."""
    found = [*_of_the_stack(configuration)]
    yield from found
    if not found or is_ending():  # then for the credentials
        known: dict[str, Answers] = {}
        _answers.set(known)
        yield from _of_the_cloud(configuration, known)


def by_place(plan: Plan) -> dict[str, tuple[Node, ...]]:
    """The nodes that this driver makes, by AWS's names of their regions, sorted."""
    nodes = [node for node in plan.nodes if node.provider == "aws" and not node.existing]
    places = sorted({node.place for node in nodes})
    return {place: tuple(n for n in nodes if n.place == place) for place in places}


def options_of(configuration: StackConfiguration) -> Options:
    """``mesh:providers.aws``."""
    options: Options = configuration.spec.providers.aws
    return options


def nodes_side(network: IPv4Network) -> IPv4Network:
    """The half of a subnet that is reserved for the nodes' addresses."""
    return list(network.subnets(prefixlen_diff=1))[1]


def inside(network: IPv4Network, number: int) -> IPv4Address | None:
    """The private address of a node by its tunnel number; None where the subnet has none. AWS
    reserves the last address of a subnet."""
    side = nodes_side(network)
    return side[number] if number < side.num_addresses - 1 else None


def _of_the_stack(configuration: StackConfiguration) -> Iterator[Problem]:
    """The problems that show without AWS."""
    plan, options = configuration.plan, options_of(configuration)
    nodes = [node for here in by_place(plan).values() for node in here]
    yield from user_data.problems(configuration, nodes)
    yield from overlap(f"{OPTIONS}.network", options.network, plan)
    for node in nodes:
        if node.place not in options.given:
            yield from address(node, options.network)
    for place in sorted(set(options.given) - set(FACTS.regions)):
        yield Problem(
            f"{OPTIONS}.given.{place}", place, "aws has no such region",
            "name the region that the VPC is in, as us-west-2",
        )  # fmt: skip
    for here in by_place(plan).values():
        yield from firewall.problems(plan, here)


def overlap(key: str, network: IPv4Network, plan: Plan) -> Iterator[Problem]:
    """A subnet that overlaps the mesh's own networks."""
    owned = (prefix for prefix in plan.owned if isinstance(prefix, IPv4Network))
    for range_ in (plan.tunnels.ipv4, *owned):
        if network.overlaps(range_):
            yield Problem(
                key, str(network), f"it overlaps {range_} of the mesh",
                "give a private network of its own, as 172.31.0.0/24",
            )  # fmt: skip


def address(node: Node, network: IPv4Network) -> Iterator[Problem]:
    """A node without a private address, since its number is too high for the subnet."""
    if inside(network, node.number) is None:
        last = nodes_side(network).num_addresses - 2
        yield Problem(
            f"mesh:nodes.{node.id}.number", str(node.number),
            f"its private address would lie outside the upper half of {network}, where a node has "
            f"the address of its number (up to {last})",
            f"give a lower free number, or a wider {OPTIONS}.network before the first node is made",
        )  # fmt: skip


def _of_the_cloud(
    configuration: StackConfiguration, known: dict[str, Answers]
) -> Iterator[Problem]:
    """The problems that only AWS knows: one query for all regions, and a few for each."""
    try:
        enabled = sdk.get_regions().names
        for place, here in by_place(configuration.plan).items():
            if place not in enabled:
                yield Problem(
                    f"mesh:regions.{here[0].region}.at.aws", place,
                    f"this region is not enabled in the account, and {here[0].id} is there",
                    "enable it on the account's page of regions, or name another",
                )  # fmt: skip
                continue
            query = _RegionQuery(place, here, configuration)
            yield from dict.fromkeys(query.problems())  # a size once, not for each node
            known[place] = query.answers()
    except Exception as error:  # the SDK raises nothing narrower
        yield refusal(error)


class _RegionQuery:
    """The queries about one region."""

    def __init__(
        self, place: str, nodes: Sequence[Node], configuration: StackConfiguration
    ) -> None:
        self._place, self._nodes, self._configuration = place, nodes, configuration
        self._options = options_of(configuration)
        self._given = self._options.given.get(place)
        self._image, self._architecture = "", ""
        self._zone: str | None = None
        self._network = self._options.network

    def problems(self) -> Iterator[Problem]:
        """What the region lacks. Exception where AWS does not answer."""
        yield from self._ask_image()
        if self._given is not None:
            yield from self._ask_subnet(self._given)
        missing = [*self._ask_zones()]
        yield from missing
        if self._architecture and all(each.severity == "warning" for each in missing):
            yield from self._ask_processors()

    def answers(self) -> Answers:
        """The answers, once there is no problem."""
        return Answers(self._place, self._image, self._zone, self._network)

    def _ask_image(self) -> Iterator[Problem]:
        name = self._options.image
        try:
            found = sdk.get_ami(
                owners=[DEBIAN],
                filters=[{"name": "name", "values": [name]}],
                most_recent=True,
                region=self._place,
            )
        except Exception as error:
            if "returned no results" not in str(error):
                raise
            yield Problem(
                f"{OPTIONS}.image", name, f"Debian has no image of that name in {self._place}",
                "name one of its own, such as debian-13-amd64-*",
            )  # fmt: skip
        else:
            self._image, self._architecture = found.image_id, found.architecture

    def _ask_subnet(self, given: ExistingVpc) -> Iterator[Problem]:
        key = f"{OPTIONS}.given.{self._place}"
        try:
            found = sdk.get_subnet(id=given.subnet, region=self._place)
        except Exception as error:
            if "no matching EC2 Subnet" not in str(error) and "InvalidSubnetID" not in str(error):
                raise
            yield Problem(
                f"{key}.subnet", given.subnet, f"there is no such subnet in {self._place}",
                "give the id of a subnet of that VPC",
            )  # fmt: skip
            return
        if found.vpc_id != given.vpc:
            yield Problem(
                f"{key}.vpc", given.vpc, f"{given.subnet} is a subnet of {found.vpc_id}",
                "give ids that belong together",
            )  # fmt: skip
        for node in self._nodes:
            if node.ipv6 and not found.ipv6_cidr_block:
                yield Problem(
                    f"mesh:nodes.{node.id}.ipv6", "true", f"{given.subnet} has no IPv6 network",
                    "give the subnet one, or write `ipv6: false`",
                )  # fmt: skip
        self._network, self._zone = IPv4Network(found.cidr_block), found.availability_zone
        yield from overlap(f"{key}.subnet", self._network, self._configuration.plan)
        for node in self._nodes:
            yield from address(node, self._network)

    def _ask_zones(self) -> Iterator[Problem]:
        """A subnet is in one zone, and not every zone has every size."""
        found = sdk.get_instance_type_offerings(
            location_type="availability-zone",
            filters=[{"name": "instance-type", "values": self._sizes()}],
            region=self._place,
        )
        zones: dict[str, set[str]] = {}
        for size, zone in zip(found.instance_types, found.locations, strict=True):
            # Local and Wavelength Zones are listed too (karpenter-provider-aws, pull request 5308),
            # and a region's address cannot be mapped there (AssociateAddress: another network
            # border group). Their names have more than a letter behind the region's.
            if re.fullmatch(rf"{self._place}[a-z]", zone):
                zones.setdefault(size, set()).add(zone)
        missing = [node for node in self._nodes if node.size not in zones]
        for node in missing:
            yield self._size(
                node, f"{self._place} has no such instance type",
                "give one of EC2's own names that it has, such as t3.small",
            )  # fmt: skip
        if missing:
            return
        if self._given is None:
            self._zone = self._zone_of_our_subnet()
        common = set.intersection(*zones.values())
        if self._zone is not None:
            yield from self._not_in(self._zone, zones)
        elif common:
            self._zone = min(common)
        else:
            yield self._size(
                self._nodes[0], f"{self._place} has no zone that has "
                f"{' and '.join(self._sizes())}, and the subnet of the nodes lies in one",
                "give the nodes sizes that one zone has",
            )  # fmt: skip

    def _zone_of_our_subnet(self) -> str | None:
        """The zone of the subnet that an earlier update has made; it stays in it."""
        stack = self._configuration.plan.stack
        tags = {"stack": stack, "Name": f"*-aws-{self._place}-subnet"}
        try:
            found = sdk.get_subnet(filters=_tagged(tags), region=self._place)
        except Exception as error:
            # None, or those of two networks whose stacks have the same name.
            if "no matching EC2 Subnet" in str(error) or "EC2 Subnets matched" in str(error):
                return None
            raise
        return str(found.availability_zone)

    def _not_in(self, zone: str, zones: Mapping[str, set[str]]) -> Iterator[Problem]:
        """The nodes whose size this zone does not have; one that runs stays as it is."""
        for node in self._nodes:
            if zone in zones[node.size]:
                continue
            problem = self._size(
                node, f"{zone}, where the subnet of the nodes lies, has no such size for {node.id}",
                f"give {node.id} a size that is there (aws ec2 describe-instance-type-offerings "
                f"--region {self._place} --location-type availability-zone --filters "
                f"Name=location,Values={zone})",
            )  # fmt: skip
            if self._runs(node):
                reason = f"{problem.reason}; {node.id} {KEEPS}"
                problem = replace(problem, reason=reason, severity="warning")
            yield problem

    def _runs(self, node: Node) -> bool:
        """Whether the node has a server of its size."""
        filters = _tagged({"stack": self._configuration.plan.stack, "node": node.id})
        found = sdk.get_instances(
            filters=[*filters, {"name": "instance-type", "values": [node.size]}],
            instance_state_names=["pending", "running", "stopping", "stopped"],
            region=self._place,
        )
        return bool(found.ids)

    def _ask_processors(self) -> Iterator[Problem]:
        fitting = sdk.get_instance_types(
            filters=[
                {"name": "instance-type", "values": self._sizes()},
                {"name": "processor-info.supported-architecture", "values": [self._architecture]},
            ],
            region=self._place,
        ).instance_types
        for node in self._nodes:
            if node.size not in fitting:
                yield self._size(
                    node, f"its processor is not {self._architecture}, for which "
                    f"{self._options.image} is made",
                    f"give another size, or another image in {OPTIONS}.image",
                )  # fmt: skip

    def _sizes(self) -> list[str]:
        return sorted({node.size for node in self._nodes})

    def _size(self, node: Node, reason: str, cure: str) -> Problem:
        """A problem with a node's size, with the key that sets it."""
        own = self._configuration.spec.nodes[node.id].plan is not None
        key = f"mesh:nodes.{node.id}.plan" if own else f"{OPTIONS}.plan"
        return Problem(key, node.size, reason, cure)


def _tagged(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """EC2's filters for these tags, of which it takes patterns."""
    return [{"name": f"tag:{key}", "values": [value]} for key, value in tags.items()]


REFUSALS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "Expired", "AWS_SESSION_TOKEN", "[secret]", "the credentials for AWS have expired",
        "get new ones, and try again",
    ),
    (
        "InvalidClientTokenId|AuthFailure|SignatureDoesNotMatch",
        "AWS_ACCESS_KEY_ID", "[secret]", "AWS does not know these credentials",
        "give those of an access key that exists",
    ),
    (
        "UnauthorizedOperation|AccessDenied", "AWS_ACCESS_KEY_ID", "[secret]",
        "these credentials may not look at EC2",
        "allow them ec2:* on the network's resources",
    ),
)  # fmt: skip
"""A pattern for AWS's error, then key, value, reason and cure. Without any credentials or region
the provider does not start, and shows its own error."""


def refusal(error: Exception) -> Problem:
    """The provider's own error as one sentence."""
    text = " ".join(str(error).replace("*", " ").split())
    for pattern, key, value, reason, cure in REFUSALS:
        if re.search(pattern, text):
            return Problem(key, value, reason, cure)
    answer = re.sub(r"^.*(?:api error|occurred:|failed:) ", "", text)
    return Problem(
        "AWS", "refused", f"AWS answers: {answer[:300]}", "correct what it names, and try again"
    )
