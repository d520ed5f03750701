"""What GCP would refuse of a stack, asked before anything is made.

One query for the image and one for each zone, with the operator's own credentials.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

import pulumi

from mesh.infra.providers.protocol import StackConfiguration
from mesh.infra.providers.submodules import submodules_only
from mesh.plan import Node, Plan
from mesh.spec import Problem
from mesh.spec.providers.gcp import FACTS, IMAGES

with submodules_only("pulumi_gcp.compute"):
    from pulumi_gcp.compute.get_image import get_image
    from pulumi_gcp.compute.get_machine_types import get_machine_types

PROJECT_VARIABLES = (
    "GOOGLE_PROJECT",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "CLOUDSDK_CORE_PROJECT",
)
"""Where the provider finds the project if neither resource nor configuration names it."""

OPTIONS = "mesh:providers.gcp"


def nodes_of(plan: Plan) -> tuple[Node, ...]:
    """The nodes that GCP makes."""
    return tuple(node for node in plan.nodes if node.provider == FACTS.name and not node.existing)


def problems(configuration: StackConfiguration) -> Iterator[Problem]:
    """The problems of a stack with nodes at GCP; after an error of a query GCP is not asked
    further."""
    yield from _offline(configuration)
    project = configuration.spec.providers.gcp.project or _project_elsewhere()
    if project is None:
        yield Problem(
            f"{OPTIONS}.project", "unset", "GCP makes nothing outside a project",
            "give the project's id",
        )  # fmt: skip
        return
    try:
        _ask_image(configuration)
        found = [
            problem for zone in _zones(configuration) for problem in _ask_zone(configuration, zone)
        ]
    except _Refusal as refusal:
        found = [_problem(refusal, project)]
    yield from found


def _offline(configuration: StackConfiguration) -> Iterator[Problem]:
    """The problems that show without GCP."""
    options, plan = configuration.spec.providers.gcp, configuration.plan
    ours = [*(p for p in plan.owned if isinstance(p, IPv4Network)), plan.tunnels.ipv4]
    for network in ours:
        if network is not None and network.overlaps(options.network):
            yield Problem(
                f"{OPTIONS}.network", str(options.network), f"it overlaps the network's {network}",
                "give a private range of its own",
            )  # fmt: skip
    regions = list(FACTS.regions)
    for place in sorted({node.place for node in nodes_of(plan)}):
        if options.network.num_addresses < (regions.index(place) + 1) * 256:
            yield Problem(
                f"{OPTIONS}.network", str(options.network),
                f"it is too small for a /24 for {place}, which is number {regions.index(place)}",
                "give a /16, of which each of GCP's regions has a /24 of its own",
            )  # fmt: skip
    yield from _too_long(configuration)


def _too_long(configuration: StackConfiguration) -> Iterator[Problem]:
    """User data above GCP's limit. What is not known yet has a known length."""
    from mesh.render import Seed, user_data

    plan = configuration.plan
    seed = Seed(
        registries=("https://255.255.255.255:65535",) * len(configuration.spec.registries),
        operator="=" * 44,
        bundle=configuration.bundle,
        token="=" * 44,
    )
    for node in nodes_of(plan):
        size = len(user_data(plan, node.id, seed).encode())
        if size > FACTS.user_data_limit:
            yield Problem(
                f"mesh:nodes.{node.id}", f"{size} bytes of user data",
                f"GCP takes {FACTS.user_data_limit} bytes per metadata value",
                "shorten mesh:admin.keys",
            )  # fmt: skip


def _project_elsewhere() -> str | None:
    configured = pulumi.Config("gcp").get("project")
    variables = (os.environ[name] for name in PROJECT_VARIABLES if os.environ.get(name))
    return configured or next(variables, None)


def _zones(configuration: StackConfiguration) -> Sequence[str]:
    letter = configuration.spec.providers.gcp.zone
    return sorted({f"{node.place}-{letter}" for node in nodes_of(configuration.plan)})


class _Refusal(Exception):
    """GCP's error, with the key of the stack file that was asked about, and its value."""

    def __init__(self, key: str, value: str, answer: Exception, cure: str) -> None:
        super().__init__(str(answer))
        self.key, self.value, self.cure = key, value, cure


def _ask_image(configuration: StackConfiguration) -> None:
    family = configuration.spec.providers.gcp.image
    project = IMAGES.split("/")[1]
    try:
        get_image(family=family, project=project)
    except Exception as error:  # the SDK knows no narrower one
        raise _Refusal(
            f"{OPTIONS}.image", family, error,
            f"give a family of {project} (gcloud compute images list --project {project})",
        ) from None  # fmt: skip


def _ask_zone(configuration: StackConfiguration, zone: str) -> Iterator[Problem]:
    options = configuration.spec.providers.gcp
    wanted = {
        n.size: n for n in nodes_of(configuration.plan) if zone == f"{n.place}-{options.zone}"
    }
    names = " OR ".join(f"(name = {size})" for size in sorted(wanted))
    try:
        answer = get_machine_types(zone=zone, filter=names, project=options.project)
    except Exception as error:  # the SDK knows no narrower one
        raise _Refusal(
            f"{OPTIONS}.zone", zone.rpartition("-")[2], error,
            f"give the letter of a zone of {zone.rpartition('-')[0]} (gcloud compute zones list)",
        ) from None  # fmt: skip
    offered = {each.name for each in answer.machine_types}
    for size in sorted(set(wanted) - offered):
        node = wanted[size].id
        own = configuration.spec.nodes[node].plan
        yield Problem(
            f"mesh:nodes.{node}.plan" if own else f"{OPTIONS}.plan", size,
            f"{zone} has no such machine type",
            f"give one of its own (gcloud compute machine-types list --zones {zone})",
        )  # fmt: skip


# Errors of GCP and its provider, in the order in which they are tried; the texts are those of
# pulumi-gcp (provider/resources.go), golang.org/x/oauth2 and google.golang.org/api/googleapi.
NO_CREDENTIALS = re.compile(
    r"failed to load application credentials|could not find default credentials", re.IGNORECASE
)
BAD_CREDENTIALS = re.compile(
    r"Error 401|invalid_grant|invalid_rapt|Invalid Credentials|invalid authentication credentials|"
    r"oauth2: cannot fetch token|JSON credentials are not valid|unexpected end of JSON",
    re.IGNORECASE,
)
API_IS_OFF = re.compile(r"has not been used in project|SERVICE_DISABLED|accessNotConfigured")
NOT_ALLOWED = re.compile(r"Error 403|PERMISSION_DENIED")
NO_PROJECT = re.compile(r"projects/[^/' ]+' was not found|Unknown project id|CONSUMER_INVALID")
NOT_FOUND = re.compile(r"Error 404|Error 400|was not found|Unknown zone", re.IGNORECASE)


def _problem(refusal: _Refusal, project: str) -> Problem:
    answer = str(refusal)
    if BAD_CREDENTIALS.search(answer):
        return Problem(
            "gcp:credentials", "[secret]", f"GCP does not accept them ({_brief(answer)})",
            "run `gcloud auth application-default login`, or set GOOGLE_CREDENTIALS to a key",
        )  # fmt: skip
    if NO_CREDENTIALS.search(answer):
        return Problem(
            "gcp:credentials", "unset", "there are no Google credentials on this machine",
            "run `gcloud auth application-default login`, or set GOOGLE_CREDENTIALS to a key",
        )  # fmt: skip
    if API_IS_OFF.search(answer):
        return Problem(
            f"{OPTIONS}.project", project, "an API that the mesh needs is off in this project",
            "gcloud services enable compute.googleapis.com networkconnectivity.googleapis.com "
            f"--project {project}",
        )  # fmt: skip
    if NO_PROJECT.search(answer):
        return Problem(
            f"{OPTIONS}.project", project, "GCP has no such project, or does not show it",
            "give the id (not the name or number) of a project of yours (gcloud projects list)",
        )  # fmt: skip
    if NOT_ALLOWED.search(answer):
        return Problem(
            f"{OPTIONS}.project", project, f"the credentials may not do this ({_brief(answer)})",
            "grant them roles/compute.admin and roles/networkconnectivity.hubAdmin",
        )  # fmt: skip
    if NOT_FOUND.search(answer):
        return Problem(refusal.key, refusal.value, "GCP has none of that name", refusal.cure)
    reason = f"GCP answers: {_brief(answer)}"
    return Problem("GCP", "refused", reason, "correct what it names, and try again")


def _brief(answer: str) -> str:
    """The provider's error in one line, without what the engine put around it."""
    text = " ".join(answer.split()).rpartition("error occurred: * ")[2]
    text = text.rpartition("googleapi: ")[2]
    return text if len(text) <= 160 else text[:157] + "..."
