"""OpenBSD nodes at Vultr under mocks: their image, their startup script, their user data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from mesh.infra.providers import plugins
from mesh.infra.providers.vultr import images
from mesh.infra.providers.vultr.v2 import connect
from mesh.infra.providers.vultr.v2.answers import Image, Instance
from mesh.plan import make
from mesh.preview.kinds import ResourceKind, kind_of
from mesh.render import startup_script
from mesh.spec import load
from mesh.trust.keys import join_token, new_operator_key
from tests.kit.program import UNKNOWN, Registered, Run, run
from tests.kit.stacks import ROOT, prod
from tests.kit.vultr_api import KEY, Vultr
from tests.kit.vultr_api.objects import Server
from tests.kit.vultr_api.offers import DEBIAN, DEBIAN_ID, OPENBSD, OPENBSD_ID
from tests.program import test_vultr
from tests.program.test_vultr import NODES, VultrAnswers, nodes, options, stack

NODE = "mia-vultr-1"
OTHERS = tuple(node for node in NODES if node != NODE)
SCRIPT = "mesh-vultr-startup-script"
PRIVATE, PUBLIC = new_operator_key()


class OperatorAnswers(VultrAnswers):
    """What Vultr makes, for an operator whose key signs."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        identity, outs = super().new_resource(args)
        if args.typ.endswith("mesh:Operator") and not self.nothing_exists:
            outs |= {"private": PRIVATE, "public": PUBLIC}
        return identity, outs


def deploy(nothing_exists: bool = False, os: str = "openbsd", **changes: Any) -> Run:
    """The production network, of which one node runs OpenBSD."""
    keys = nodes(**{NODE: {"number": 3, "os": os}}) | changes
    return run(
        stack(**keys),
        stack="prod",
        nothing_exists=nothing_exists,
        secret_keys=("bgpPassword-vultr", "vultr:apiKey"),
        answers=OperatorAnswers,
    )


@pytest.fixture(scope="module")
def deployed() -> Run:
    return deploy()


@pytest.fixture
def catalogue(vultr: Vultr) -> Iterator[Vultr]:
    """The images that Vultr offers, to be changed for one test."""
    kept = vultr.images
    vultr.images = list(kept)
    yield vultr
    vultr.images = kept


@pytest.fixture
def living(vultr: Vultr) -> Iterator[dict[str, Server]]:
    """The server of the node, as an earlier update has made it."""
    with connect(KEY) as client:
        body = {
            "region": "mia", "plan": "vc2-1c-1gb", "os_id": OPENBSD_ID, "label": NODE,
            "tags": ["anycast-mesh", "prod"],
        }  # fmt: skip
        client.post("/instances", body, "instance", Instance)
    yield vultr.instances
    vultr.servers.clear()


def server(done: Run, node: str) -> Registered:
    return done.resources[f"mesh-{node}-instance"]


class TestServer:
    def test_boots_the_newest_openbsd_with_the_script(self, deployed: Run) -> None:
        inputs = server(deployed, NODE).inputs
        assert (inputs["os_id"], inputs["script_id"]) == (OPENBSD_ID, f"{SCRIPT}-id")

    @pytest.mark.parametrize("node", OTHERS)
    def test_with_debian_has_what_it_always_had(self, deployed: Run, node: str) -> None:
        one = server(deployed, node)
        former = server(test_vultr.deploy(), node)
        assert set(one.inputs) == set(former.inputs)
        assert one.inputs["os_id"] == former.inputs["os_id"] == DEBIAN_ID
        assert one.inputs["user_data"].startswith("#cloud-config\n")

    def test_has_its_token_in_secret_user_data_below_a_signature(self, deployed: Run) -> None:
        one = server(deployed, NODE)
        user_data = one.inputs["user_data"]
        assert user_data.startswith("untrusted comment: ")
        assert join_token(PRIVATE, NODE) in user_data
        assert PRIVATE not in user_data
        assert "user_data" in one.secrets

    def test_has_user_data_that_vultr_takes(self, deployed: Run) -> None:
        assert len(server(deployed, NODE).inputs["user_data"].encode()) < 16_384

    def test_is_not_replaced_by_another_script(self, deployed: Run) -> None:
        assert {"script_id", "os_id", "user_data"} <= set(server(deployed, NODE).ignore_changes)


class TestScript:
    def test_is_one_for_all_nodes_and_no_secret(self) -> None:
        two = {NODE: {"number": 3, "os": "openbsd"}, "ewr-vultr-1": {"number": 4, "os": "openbsd"}}
        done = deploy(**nodes(**two))
        (script,) = done.of("StartupScript")
        assert (script.name, script.parent) == (SCRIPT, "mesh")
        assert script.inputs["script"] == startup_script(PUBLIC)
        assert not script.secrets
        for node in NODES:
            assert join_token(PRIVATE, node) not in script.inputs["script"]
        assert PRIVATE not in script.inputs["script"]

    def test_is_not_made_without_such_nodes(self) -> None:
        assert not test_vultr.deploy().of("StartupScript")

    def test_is_planned_before_the_operators_key_is_made(self) -> None:
        previewed = deploy(nothing_exists=True)
        assert previewed.resources[SCRIPT].inputs["script"] == UNKNOWN

    def test_is_known_to_the_gate(self, deployed: Run) -> None:
        assert kind_of(deployed.resources[SCRIPT].type) is ResourceKind.OTHER

    def test_goes_after_the_servers_that_name_it(self, deployed: Run) -> None:
        assert SCRIPT in server(deployed, NODE).depends_on


class TestImage:
    """Nothing is pinned: the newest that Vultr has, unless the stack file names one."""

    def told(self, done: Run) -> list[str]:
        return [line for line in done.log if "OpenBSD" in line and "Vultr" in line]

    def test_that_a_new_server_gets_is_told(self) -> None:
        said = f"note: {NODE} will run {OPENBSD}, the newest that Vultr has"
        assert said in self.told(deploy(nothing_exists=True))

    def test_of_the_stack_file_is_taken(self, catalogue: Vultr) -> None:
        catalogue.images.append({"id": 1, "name": "OpenBSD 9.8 x64", "family": "openbsd"})
        done = deploy(**options(openbsd="OpenBSD 9.8 x64"))
        assert server(done, NODE).inputs["os_id"] == 1
        assert not self.told(done)

    def test_is_chosen_by_its_numbers(self, catalogue: Vultr) -> None:
        for id_, name in ((1, "OpenBSD 10.0 x64"), (2, "OpenBSD 9.8 x64"), (3, "OpenBSD X x64")):
            catalogue.images.append({"id": id_, "name": name, "arch": "x64", "family": "openbsd"})
        assert server(deploy(), NODE).inputs["os_id"] == 1

    @pytest.mark.parametrize(
        ("changes", "there", "said"),
        [
            (
                {}, [DEBIAN],
                ["mesh:providers.vultr.openbsd = newest: Vultr has no image of OpenBSD",
                 "remove os: openbsd"],
            ),
            (
                options(openbsd="OpenBSD 9.7 x64"), [DEBIAN, OPENBSD],
                ["mesh:providers.vultr.openbsd = OpenBSD 9.7 x64: Vultr has no image",
                 f'"{OPENBSD}", or remove the key'],
            ),
            (
                options(openbsd=DEBIAN), [DEBIAN, OPENBSD],
                [f"mesh:providers.vultr.openbsd = {DEBIAN}: Vultr has no image of OpenBSD of this"],
            ),
            (
                options(image=OPENBSD), [DEBIAN, OPENBSD],
                [f"mesh:providers.vultr.image = {OPENBSD}: it is an image of OpenBSD",
                 "move it to mesh:providers.vultr.openbsd"],
            ),
            (
                options(openbsd="OpenBSD 7.5 x64"), [DEBIAN, OPENBSD, "OpenBSD 7.5 x64"],
                ["mesh:providers.vultr.openbsd = OpenBSD 7.5 x64: support of this release ended "
                 "before 2025-06-01", f"{NODE} would be made from it; take {OPENBSD}"],
            ),
            (
                {}, [DEBIAN, "OpenBSD 7.5 x64"],
                [f"{NODE} would be made from it; use a server with a newer one (host:)"],
            ),
        ],
        ids=["none", "another", "of Debian", "in the other key", "too old", "newest is too old"],
    )  # fmt: skip
    def test_that_is_not_there_is_refused(
        self, catalogue: Vultr, changes: dict[str, Any], there: list[str], said: list[str]
    ) -> None:
        catalogue.images = [row for row in catalogue.images if row["name"] in there]
        with pytest.raises(pulumi.RunError) as refusal:
            deploy(**changes)
        assert all(part in str(refusal.value) for part in said), refusal.value

    def test_that_is_old_stops_no_network_that_runs_it(
        self, catalogue: Vultr, living: dict[str, Server]
    ) -> None:
        catalogue.images = [row for row in catalogue.images if row["name"] != OPENBSD]
        assert not self.told(deploy(nothing_exists=True))

    def test_that_vultr_gives_up_stops_no_network_that_runs(
        self, catalogue: Vultr, living: dict[str, Server]
    ) -> None:
        catalogue.images = [row for row in catalogue.images if row["family"] != "openbsd"]
        done = deploy(nothing_exists=True)
        (told,) = self.told(done)
        assert f"{NODE} keeps its server, and cannot be replaced" in told
        assert server(done, NODE).inputs["os_id"] == OPENBSD_ID

    @pytest.mark.parametrize(
        ("today", "severity"),
        [("2025-05-31", None), ("2025-06-01", "warning"), ("2025-08-01", "error")],
    )
    def test_may_be_outdated_for_a_while(self, today: str, severity: str | None) -> None:
        spec = load("prod", prod() | nodes(**{NODE: {"number": 3, "os": "openbsd"}}), ROOT).spec
        there = [Image(id=1, name="OpenBSD 7.5 x64")]
        found = images.outdated(spec, make(spec).nodes, there, (), date.fromisoformat(today))
        assert [each.severity for each in found] == ([severity] if severity else [])

    @pytest.mark.parametrize(
        ("os", "image"), [("openbsd", DEBIAN), ("debian", OPENBSD)], ids=["to", "back"]
    )
    def test_of_a_server_that_runs_is_told_where_the_stack_file_says_otherwise(
        self, vultr: Vultr, living: dict[str, Server], os: str, image: str
    ) -> None:
        living[NODE].os_id = {DEBIAN: DEBIAN_ID, OPENBSD: OPENBSD_ID}[image]
        done = deploy(nothing_exists=True, os=os)
        (told,) = [line for line in done.log if "its server was made" in line]
        assert (
            f"mesh:nodes.{NODE}.os = {os}: its server was made from Vultr's image {image}" in told
        )
        assert f"`mesh replace {NODE}` makes it anew" in told


def test_the_plugin_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.TRY, f"vultr-{version('ediri-vultr')}")
    with pytest.raises(pulumi.RunError) as refusal:
        deploy(**options(through="plugin"))
    assert f"mesh:nodes.{NODE}.os = openbsd: its server needs a startup script" in str(
        refusal.value
    )
    assert "set mesh:providers.vultr.through to api" in str(refusal.value)
