"""What rendered files say, and that they say it the same way every time."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.plan import Plan
from mesh.render import (
    File,
    Seed,
    node_files,
    node_secrets,
    placeholder_facts,
    placeholder_placements,
    user_data,
)
from mesh.render.debian_boot import PACKAGES, REGISTRY_PACKAGES
from tests.kit.stacks import (
    ROOT,
    bent,
    one_family,
    one_node_without_ipv6,
    plan_of,
    prod,
    with_members,
)

GOLDEN = Path(__file__).parent / "golden"
SEED = Seed(("https://203.0.113.1:8443",), "operator", "0" * 64, "the-token")


def files_of(plan: Plan, node_id: str) -> dict[str, File]:
    """A node's files by path."""
    made = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    return {file.path: file for file in made[node_id].files}


COMMITTED: dict[str, list[str]] = {
    "golden": ["--stack", "prod"],
    # What a node believes that takes full tables: one edge is enough to read.
    "routed": ["--stack", "routed", "--node", "mia-vultr-1"],
    "openbsd": ["--stack", "openbsd", "--node", "mia-vultr-1"],
}


@pytest.mark.parametrize("folder", COMMITTED)
def test_what_mesh_render_writes_is_what_was_committed(folder: str, tmp_path: Path) -> None:
    """A change of a template shows as a diff.

    `mesh render --stack prod --out tests/render/golden` writes them anew, and `mesh render
    --stack routed --root examples --node mia-vultr-1 --out tests/render/routed`; so with
    `openbsd` in place of `routed`.
    """
    root = ROOT if folder == "golden" else ROOT / "examples"
    arguments = ["render", *COMMITTED[folder], "--out", str(tmp_path), "--root", str(root)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    written = {str(p.relative_to(tmp_path)): p.read_text() for p in _files(tmp_path)}
    golden = GOLDEN.with_name(folder)
    committed = {str(p.relative_to(golden)): p.read_text() for p in _files(golden)}
    assert set(written) == set(committed)
    for path, text in committed.items():
        assert written[path] == text, path


@pytest.mark.parametrize("asn", [1, 2, 27218, 64495, 131072, 4199999999])
def test_every_asn_is_a_bogon_our_own_or_foreign(asn: int) -> None:
    values = bent("asn", asn) | {"routing": {"import": "full"}}
    lists = files_of(plan_of(values), "lax-vultr-1")["/etc/bird/mesh/lists.conf"].content
    bogons, foreign = (_numbers(lists, name) for name in ("BOGON_ASNS", "FOREIGN_ASNS"))
    known = sorted([*bogons, *foreign, (asn, asn)])
    ends = [-1, *(last for _, last in known)]
    assert [first for first, _ in known] == [last + 1 for last in ends[:-1]], "each of one kind"
    assert ends[-1] == 2**32 - 1


@pytest.mark.parametrize("asn", [1, 27218, 64495])
def test_bird_finds_most_asns_at_the_top_of_its_tree(asn: int) -> None:
    """The top of a balanced tree is the middle of its entries, and so on in both halves."""
    values = bent("asn", asn) | {"routing": {"import": "full"}}
    lists = files_of(plan_of(values), "lax-vultr-1")["/etc/bird/mesh/lists.conf"].content
    foreign = _numbers(lists, "FOREIGN_ASNS")
    top = len(foreign) // 2
    assert foreign[top][0] == 131072
    low, high = foreign[top // 2]
    assert low < 3356 < high


def _numbers(lists: str, name: str) -> list[tuple[int, int]]:
    """The ranges of a set of ASNs."""
    found = re.search(rf"^define {name} = \[\n(.*?)^\];", lists, re.MULTILINE | re.DOTALL)
    assert found
    ranges = re.findall(r"^\t(\d+)(?:\.\.(\d+))?", found[1], re.MULTILINE)
    return [(int(first), int(last or first)) for first, last in ranges]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_same_input_gives_the_same_bytes() -> None:
    def digest() -> str:
        plan = plan_of(prod())
        files = node_files(plan, placeholder_facts(plan))
        return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()

    assert digest() == digest()


def test_what_is_the_same_on_all_nodes_is_made_once() -> None:
    """Else the files of a thousand nodes hold it a thousand times."""
    plan = plan_of(prod())
    made = node_files(plan, placeholder_facts(plan))
    first, *others = ({file.path: file for file in own.files} for own in made.values())
    common = {p for p, f in first.items() if all(f == other.get(p) for other in others)}
    of_host = {
        "/etc/sysctl.d/99-anycast-mesh.conf",
        "/etc/systemd/system/anycast-mesh-services.service",
    }
    assert common >= {f"/etc/bird/mesh/{name}.conf" for name in ("network", "mates", "reasons")}
    for other in others:
        assert {path for path in common if first[path] is not other[path]} <= of_host


def test_adding_a_region_changes_no_existing_tunnel() -> None:
    before = plan_of(prod())
    values = bent("regions/eu/slots", {"vultr-1": "192.30.120.33"})
    values["nodes"]["eu-vultr-1"] = {"number": 5}
    after = plan_of(values)
    for node in before.nodes:
        old, new = files_of(before, node.id), files_of(after, node.id)
        for path in old:
            if "/wireguard/" in path:
                assert new[path] == old[path]
        assert "/etc/wireguard/wg-eu-vultr-1.conf" in new


def test_no_file_holds_a_private_key_or_a_password() -> None:
    plan = plan_of(prod())
    for node in plan.nodes:
        text = "\n".join(file.content for file in files_of(plan, node.id).values())
        assert "PrivateKey" not in text
        assert "s3cret" not in text
        (sealed,) = node_secrets(plan, node.id, {"vultr": "s3cret"})
        assert "s3cret" in sealed.content and sealed.mode == 0o640


def test_the_user_data_hold_one_secret_and_it_can_be_left_out() -> None:
    plan = plan_of(prod())
    with_token = user_data(plan, "lax-vultr-1", SEED)
    assert with_token.count("the-token") == 1
    shown = user_data(plan, "lax-vultr-1", Seed(SEED.registries, SEED.operator, SEED.bundle, ""))
    assert shown == with_token.replace("the-token", "")


def test_the_user_data_are_well_below_the_smallest_limit() -> None:
    """AWS takes 16 KB before base64."""
    plan = plan_of(prod())
    for node in plan.nodes:
        assert len(user_data(plan, node.id, SEED).encode()) < 14 * 1024


def test_a_registry_that_is_broken_into_commands_nothing_of_its_node() -> None:
    """It runs as root, without capabilities: whatever heeds root by name has to be out of reach."""
    unit = user_data(plan_of(prod()), "lax-vultr-1", SEED)
    for line in ("CapabilityBoundingSet=", "TemporaryFileSystem=/run", "PrivateDevices=yes",
                 "ProtectKernelTunables=yes", "ProtectControlGroups=yes", "ProtectSystem=strict",
                 "IPAddressDeny=169.254.169.254"):  # fmt: skip
        assert f"      {line}\n" in unit, line


def test_a_registry_has_a_limit_of_memory() -> None:
    assert "      MemoryMax=640M\n" in user_data(plan_of(prod()), "lax-vultr-1", SEED)


def test_the_user_data_know_only_keys_that_cloud_init_knows() -> None:
    """The schema check lets unknown top-level keys pass."""
    known = {
        "hostname", "preserve_hostname", "manage_etc_hosts", "ssh_pwauth", "disable_root",
        "ssh_authorized_keys", "updates", "bootcmd", "write_files",
    }  # fmt: skip
    document = yaml.safe_load(user_data(plan_of(prod()), "lax-vultr-1", SEED))
    assert set(document) <= known


def test_the_seed_is_written_last() -> None:
    """Where it lies, all other files lie: that is what a boot after a power cut looks for."""
    document = yaml.safe_load(user_data(plan_of(prod()), "ord-vultr-1", SEED))
    assert document["write_files"][-1]["path"] == "/etc/anycast-mesh/seed.json"
    assert document["write_files"][-1]["permissions"] == "0600"
    assert json.loads(document["write_files"][-1]["content"])["token"] == "the-token"


def test_no_shell_fragment_or_empty_value_is_left_in_a_file() -> None:
    for values in (prod(), one_node_without_ipv6()):
        plan = plan_of(values)
        for node in plan.nodes:
            for file in files_of(plan, node.id).values():
                assert not re.search(r"\$\{|\{\{|None|undefined", file.content), file.path


def test_a_node_without_ipv6_has_no_ipv6_upstream() -> None:
    text = files_of(plan_of(one_node_without_ipv6()), "mia-vultr-1")["/etc/bird/bird.conf"].content
    assert "vultr4" in text and "vultr6" not in text


def test_an_upstream_session_has_a_source_of_its_own_family() -> None:
    plan = plan_of(prod())
    facts = placeholder_facts(plan)["lax-vultr-1"]
    text = files_of(plan, "lax-vultr-1")["/etc/bird/bird.conf"].content
    for name, source in (("vultr4", facts.ipv4), ("vultr6", facts.ipv6)):
        block = text.split(f"protocol bgp {name} ")[1].split("\n}")[0]
        assert f"local {source} as NETWORK_ASN;" in block


def test_the_kernel_gets_a_route_only_through_a_tunnel() -> None:
    text = files_of(plan_of(prod()), "ewr-vultr-1")["/etc/bird/bird.conf"].content
    kernel = text.split("protocol kernel kernel4")[1].split("\n}")[0]
    assert kernel.count("accept") == 2
    assert 'net ~ OWNED4 && ifname ~ "wg-*"' in kernel


@pytest.mark.parametrize("node_id", ["lax-vultr-1", "ewr-vultr-1"])
def test_the_registrys_port_is_open_only_on_a_registry(node_id: str) -> None:
    text = files_of(plan_of(prod()), node_id)["/etc/nftables.conf"].content
    assert ("dport 8443" in text) == (node_id == "lax-vultr-1")


def test_an_edge_is_a_way_out_in_the_families_of_its_upstream_only() -> None:
    values = with_members()
    values["nodes"]["ewr-buyvm-1"]["host"] = one_family()
    plan = plan_of(values)
    exits = str(plan.exits.ipv4), str(plan.exits.ipv6)
    uplink = ("ip saddr { 192.30.120.3, ", "ip6 saddr { 2620:71:4000::3, ")
    for node_id, families in (("ewr-buyvm-1", (True, False)), ("ewr-vultr-1", (True, True))):
        files = files_of(plan, node_id)
        forward = [f'iifname "wg-*" oifname "enp1s0" {source}' for source in uplink]
        owners = files["/etc/bird/mesh/network.conf"].content.splitlines()
        own = [line for line in owners if f"as {plan.node(node_id).underlay_asn};" in line]
        for texts, looked_for in (
            (files["/etc/bird/bird.conf"].content, exits),
            ("\n".join(own), exits),
            (files["/etc/systemd/system/anycast-mesh-dummy.service"].content, exits),
            (files["/etc/nftables.conf"].content, forward),
        ):
            assert tuple(one in texts for one in looked_for) == families


def test_only_who_has_neighbors_in_a_vpc_answers_private_addresses_by_its_uplink() -> None:
    values = with_members()
    values["nodes"]["lax-vultr-2"] = {"number": 8, "announce": False}
    plan = plan_of(values)
    for node_id, answers in (("lax-aws-1", True), ("lax-vultr-2", False)):
        unit = files_of(plan, node_id)["/etc/systemd/system/anycast-mesh-replies.service"].content
        assert ("to 172.16.0.0/12 lookup main" in unit) == answers
        rules = unit.count("\nExecStart=")
        assert rules == (7 if answers else 3) + 3
        assert unit.count("\nExecStop=-") == unit.count("\nExecStartPre=-") == rules


def test_a_missing_node_is_missing_from_its_mates_too() -> None:
    plan = plan_of(prod())
    facts = placeholder_facts(plan)
    del facts["mia-vultr-1"]
    files = node_files(plan, facts)
    assert "mia-vultr-1" not in files
    paths = {file.path for file in files["lax-vultr-1"].files}
    assert "/etc/wireguard/wg-mia-vultr-1.conf" not in paths


@pytest.mark.parametrize(
    ("uplink", "tunnel"),
    [(9001, 1420), (1500, 1420), (1400, 1320), (1360, 1280), (1300, 1280)],
)
def test_a_tunnel_carries_what_the_narrower_uplink_of_its_ends_does(
    uplink: int, tunnel: int
) -> None:
    """Never less than IPv6 needs. Both ends, and the segments of every node that may answer
    through such a tunnel; tunnels between others are left alone."""
    plan = plan_of(prod())
    facts = placeholder_facts(plan)
    facts["mia-vultr-1"] = replace(facts["mia-vultr-1"], mtu=uplink)
    made = node_files(plan, facts)

    def text(node: str, path: str) -> str:
        return next(file.content for file in made[node].files if file.path == path)

    assert f"\nMTU = {tunnel}\n" in text("mia-vultr-1", "/etc/wireguard/wg-lax-vultr-1.conf")
    assert f"\nMTU = {tunnel}\n" in text("lax-vultr-1", "/etc/wireguard/wg-mia-vultr-1.conf")
    assert "\nMTU = 1420\n" in text("lax-vultr-1", "/etc/wireguard/wg-ord-vultr-1.conf")
    for node in made:
        ruleset = text(node, "/etc/nftables.conf")
        assert f"ip saddr $aggregates4 tcp flags syn tcp option maxseg size > {tunnel - 40}" in (
            ruleset
        )
        assert f"size set {tunnel - 60}\n" in ruleset


def test_a_lab_node_has_every_package_that_a_bootstrap_would_install() -> None:
    """A node of the lab reaches no mirror: its image has to carry them."""
    lines = (ROOT / "setup/image/packages").read_text().splitlines()
    carried = {line.split("#")[0].strip() for line in lines}
    assert {*PACKAGES, *REGISTRY_PACKAGES} <= carried


def test_each_address_of_a_service_is_taken_from_its_nodes_and_bound_by_them() -> None:
    values = bent(
        "services/web",
        {
            "addresses": {
                "ipv4": "192.30.120.100",
                "ipv6": ["2620:71:4000::100", "2620:71:4000::101"],
            },
            "ports": {"tcp": [80]},
            "checks": [{"kind": "tcp", "port": 80}],
            "nodes": ["mia-vultr-1"],
        },
    )
    files = files_of(plan_of(values), "lax-vultr-1")
    network = files["/etc/bird/mesh/network.conf"].content
    assert "net ~ [ 2620:71:4000::100/128, 2620:71:4000::101/128 ]" in network
    for address, server in (
        ("192.30.120.100/32", "10.10.10.3"),
        ("2620:71:4000::100/128", "fd00:10:10::3"),
        ("2620:71:4000::101/128", "fd00:10:10::3"),
    ):
        judged = rf"if net = {address} then\s+# web\n\s+return bgp_next_hop ~ \[ {server} \];"
        assert re.search(judged, network), address
    (service,) = json.loads(files["/etc/anycast-mesh/agent.json"].content)["services"]
    assert service["addresses"] == ["192.30.120.100", "2620:71:4000::100", "2620:71:4000::101"]
