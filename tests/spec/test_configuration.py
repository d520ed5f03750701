"""Where a stack's configuration lies, what of it only the engine can read, and twins of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.services.checks.https import HttpsCheck
from mesh.spec import (
    Incomplete,
    Problem,
    SpecError,
    from_engine,
    load,
    load_file,
    read_stack_file,
)
from mesh.spec.engine import Environment, Sealed, nearest, paths, read, stack_name
from mesh.spec.engine.documents import ParseError, read_yaml
from tests.kit.stacks import ROOT, prod
from tests.kit.vultr_api.authority import certify

PROJECT = "name: anycast-mesh\nruntime: python\n"


def write(folder: Path, stack: str, values: dict[str, Any], **beside: Any) -> None:
    """A stack file of such keys, and what stands beside `config:` in it."""
    config = {f"mesh:{key}": value for key, value in values.items()}
    text = yaml.safe_dump({"config": config, **beside}, sort_keys=False)
    (folder / f"Pulumi.{stack}.yaml").write_text(text)


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in prod().items() if key not in keys}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with the production network in it."""
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    write(tmp_path, "prod", prod())
    return tmp_path


@pytest.mark.parametrize("key", ["regions", "nodes", "services", "admin", "asn", "reflectors"])
def test_a_value_may_be_a_json_text(folder: Path, key: str) -> None:
    write(folder, "text", prod() | {key: json.dumps(prod()[key])})
    assert load_file("text", folder).spec == load("text", prod(), folder).spec


def test_a_json_text_with_a_key_twice_is_refused_by_the_program_too() -> None:
    with pytest.raises(SpecError, match="the key web is set twice"):
        from_engine({"mesh:services": '{"web": 1, "web": 2}'})


@pytest.mark.parametrize("name", ["prod", "acme/prod", "acme/anycast-mesh/prod"])
def test_a_stack_may_be_named_with_its_organization(folder: Path, name: str) -> None:
    assert load_file(name, folder).spec.stack == "prod"


@pytest.mark.parametrize("name", ["", "a b", "a/b/c/d", "/prod", "acme//prod", "prod\n", "x" * 101])
def test_a_name_that_no_stack_can_have_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"--stack = .*no valid stack name; a name has"):
        load_file(name, folder)


CURED = {
    "nobody": "name one of lab, mine, prod with --stack",
    "Pulumi.nobody.yaml": "name one of lab, mine, prod with --stack",
    "Pulumi.mine.yaml": "give the stack's name in place of its file's: --stack mine",
    "./Pulumi.mine.yaml": "give the stack's name in place of its file's: --stack mine",
    "mine.yaml": "give the stack's name in place of its file's: --stack mine",
    "Pulumi.mine": "give the stack's name in place of its file's: --stack mine",
    "/home/me/mesh/Pulumi.mine.yaml": "give the stack's name: --stack mine",
    "blog": "or read it with --root {0}/examples",
    "Pulumi.blog.yaml": "or read it with --stack blog --root {0}/examples",
}
"""What to do by what was written after --stack; {0} is the folder."""


def several(folder: Path) -> None:
    """Stack files beside those of the fixture, a twin, and one among the examples."""
    write(folder, "mine", prod())
    write(folder, "lab", {"twin": "prod"})
    (folder / "examples").mkdir()
    write(folder / "examples", "blog", prod())


@pytest.mark.parametrize("name", CURED)
def test_who_names_a_stack_that_is_not_there_is_told_what_to_write(folder: Path, name: str) -> None:
    several(folder)
    with pytest.raises(SpecError) as told:
        load_file(name, folder)
    (problem,) = told.value.problems
    assert problem.cure.endswith(CURED[name].format(folder))


@pytest.mark.parametrize(
    ("original", "cure"),
    [
        ("mien", "write one of mine, prod, blog"),
        ("Pulumi.mine.yaml", "write the stack's name in place of its file's: mine"),
    ],
)
def test_a_twin_of_a_stack_that_is_not_there_names_those_that_are(
    folder: Path, original: str, cure: str
) -> None:
    several(folder)
    write(folder, "lab", {"twin": original})
    with pytest.raises(SpecError) as told:
        load_file("lab", folder)
    (problem,) = told.value.problems
    assert (problem.key, problem.value, problem.cure) == ("mesh:twin", original, cure)
    assert "--stack" not in str(problem)


def test_a_twin_without_any_original_is_told_so(tmp_path: Path) -> None:
    write(tmp_path, "lab", {"twin": "prod"})
    with pytest.raises(SpecError, match="write the file of prod first"):
        load_file("lab", tmp_path)


def test_a_stack_of_another_project_is_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="is the project anycast-mesh, and the stack is of other"):
        load_file("acme/other/prod", folder)


def test_a_project_is_found_from_its_subfolders(folder: Path) -> None:
    below = folder / "docs" / "deep"
    below.mkdir(parents=True)
    project = nearest(below)
    assert project is not None and project.path == folder / "Pulumi.yaml"
    assert project.file_of(stack_name("acme/prod")) == folder / "Pulumi.prod.yaml"


@pytest.mark.parametrize("line", ["stackConfigDir: stacks", "config: stacks"])
def test_stack_files_may_lie_in_a_folder_of_their_own(folder: Path, line: str) -> None:
    (folder / "Pulumi.yaml").write_text(f"{PROJECT}{line}\n")
    (folder / "stacks").mkdir()
    (folder / "Pulumi.prod.yaml").rename(folder / "stacks" / "Pulumi.prod.yaml")
    assert load_file("prod", folder).spec.asn == 27218


def test_a_project_may_set_what_all_stacks_have(folder: Path) -> None:
    (folder / "Pulumi.yaml").write_text(f"{PROJECT}config:\n  mesh:asn: 27218\n")
    write(folder, "prod", without("asn"))
    assert load_file("prod", folder).spec.asn == 27218
    write(folder, "prod", prod() | {"asn": 3320})
    assert load_file("prod", folder).spec.asn == 3320


def test_what_a_twins_original_says_otherwise_than_the_project_stays(folder: Path) -> None:
    (folder / "Pulumi.yaml").write_text(f"{PROJECT}config:\n  mesh:asn: 3320\n")
    write(folder, "lab", {"twin": "prod"})
    loaded = load_file("lab", folder)
    assert loaded.spec.asn == 27218
    assert [p.value for p in loaded.problems if p.key == "mesh:asn"] == ["27218"]
    write(folder, "lab", {"twin": "prod", "asn": 680})
    assert load_file("lab", folder).spec.asn == 680


def test_a_twin_trusts_the_labs_authority_in_place_of_the_originals(folder: Path) -> None:
    """In the twin a stand-in answers, whose certificate the original's authority has not signed."""
    own = certify(folder / "authority")[0].read_text().strip()
    check = {"kind": "https", "host": "www.example.net", "ca": own}
    values = prod()
    values["services"]["shop"] = {
        "kind": "external", "addresses": {"ipv4": "192.30.120.102"}, "ports": {"tcp": [443]},
        "checks": [check],
    }  # fmt: skip
    write(folder, "prod", values)
    write(folder, "lab", {"twin": "prod"})
    for stack, expected in (("prod", own), ("lab", None)):
        (found,) = load_file(stack, folder).spec.services["shop"].checks or ()
        assert isinstance(found, HttpsCheck)
        assert found.ca == expected


def test_a_twin_is_protected_whether_its_original_is_or_not(folder: Path) -> None:
    write(folder, "prod", prod() | {"protect": False})
    write(folder, "lab", {"twin": "prod"})
    assert load_file("lab", folder).spec.protect
    write(folder, "lab", {"twin": "prod", "protect": False})
    assert not load_file("lab", folder).spec.protect


@pytest.mark.parametrize("name", ["my-prod", "prod.eu", "prod_2", "2024", "no", "true"])
def test_a_twin_may_be_of_any_stack(folder: Path, name: str) -> None:
    write(folder, name, prod())
    (folder / "Pulumi.lab.yaml").write_text(f"config:\n  mesh:twin: {name}\n")
    assert load_file("lab", folder).spec.twin == name


@pytest.mark.parametrize("name", ["acme/prod", "../prod", "a b", "", "x" * 101])
def test_a_twin_of_what_is_no_stacks_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"mesh:twin = .*no valid stack name; write its name"):
        load("lab", {"twin": name}, folder)


SEALED = {"secure": "v1:c2VjcmV0:Y2lwaGVydGV4dA=="}


def test_what_is_encrypted_inside_a_map_is_named_and_never_shown(folder: Path) -> None:
    write(folder, "prod", prod() | {"admin": {"ssh": ["192.0.2.0/24"], "keys": [SEALED]}})
    with pytest.raises(Incomplete) as told:
        load_file("prod", folder)
    assert [p.key for p in told.value.unread] == ["mesh:admin.keys[0]"]
    assert "Y2lwaGVydGV4dA" not in str(told.value)


def test_what_is_wrong_beside_a_secret_is_told_all_the_same(folder: Path) -> None:
    write(folder, "prod", prod() | {"admin": {"ssh": ["nowhere"], "keys": [SEALED]}, "asn": 64512})
    with pytest.raises(SpecError) as told:
        load_file("prod", folder)
    assert not isinstance(told.value, Incomplete)
    assert {p.key for p in told.value.problems} == {"mesh:admin.ssh.0", "mesh:asn"}


def test_a_whole_key_may_be_encrypted(folder: Path) -> None:
    write(folder, "prod", prod() | {"services": SEALED})
    assert read_stack_file(folder / "Pulumi.prod.yaml")["services"] == Sealed()
    with pytest.raises(Incomplete, match=r"mesh:services = \[secret\]: it is encrypted"):
        load_file("prod", folder)


def test_a_twin_does_without_what_its_original_encrypts_only_if_it_says_so(folder: Path) -> None:
    keys = {"ssh": ["192.0.2.0/24"], "keys": [SEALED, SEALED]}
    write(folder, "prod", prod() | {"admin": keys})
    write(folder, "lab", {"twin": "prod"})
    with pytest.raises(Incomplete, match="a twin cannot take it over, and needs its own"):
        load_file("lab", folder)
    write(folder, "lab", {"twin": "prod", "admin": {"keys": []}})
    assert load_file("lab", folder).spec.admin.keys == ()


UNREAD = {
    # what stands in the file, its key in the message, and what to write
    "outside config:": ("mesh:waves: false\n", "mesh:waves",
                        "indent it by two spaces under config:, as mesh:waves"),
    "outside config:, unknown": ("mesh:waved: false\n", "mesh:waved", "as mesh:waved"),
    "outside config:, in capitals": ("Mesh:Waves: false\n", "Mesh:Waves", "as mesh:waves"),
    "outside config:, a secret": ("mesh:bgpPassword-vultr: {secure: v1:x}\n",
                                  "mesh:bgpPassword-vultr", "as mesh:bgpPassword-vultr"),
    "no namespace": ("  waves: false\n", "waves", "write mesh:waves"),
    "no namespace, a twin": ("  twin: prod\n", "twin", "write mesh:twin"),
    "no namespace, a secret": ("  bgpPassword-vultr: {secure: v1:x}\n", "bgpPassword-vultr",
                               "write mesh:bgpPassword-vultr"),
    "the project's": ("  anycast-mesh:waves: false\n", "anycast-mesh:waves", "write mesh:waves"),
    "in capitals": ("  Mesh:waves: false\n", "Mesh:waves", "write mesh:waves"),
    "in capitals, unknown": ("  MESH:waved: false\n", "MESH:waved", "write mesh:waved"),
    "in capitals, in the old form": ("  Mesh:config:waves: false\n", "Mesh:config:waves",
                                     "write mesh:waves"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREAD)
def test_a_key_that_nothing_reads_is_told_of(folder: Path, case: str) -> None:
    """One in the project's own namespace may be that of a program which the mesh is a part of."""
    line, key, cure = UNREAD[case]
    path = folder / "Pulumi.prod.yaml"
    path.write_text(path.read_text() + line)
    severity = "warning" if case.startswith(("no namespace", "the project's")) else "error"
    (problem,) = told_of(folder, path)
    assert (problem.severity, problem.value) == (severity, key)
    assert cure in problem.cure


def told_of(folder: Path, path: Path) -> list[Problem]:
    """What is told of the form of a stack file."""
    try:
        found = load_file("prod", folder).problems
    except SpecError as error:
        found = error.problems
    return [problem for problem in found if problem.key.startswith(str(path))]


READ_ELSEWHERE = {
    "other namespaces": "  vultr:nodes: 3\n  aws:region: us-west-2\n  pulumi:tags: {a: b}\n",
    "the project's own, of another name": "  colour: blue\n  anycast-mesh:size: 3\n",
    "what the project declares": "  services: 3\n",
    "what Pulumi writes": "encryptionsalt: v1:x\nsecretsprovider: passphrase\nencryptedkey: abc\n",
}


@pytest.mark.parametrize("case", READ_ELSEWHERE)
def test_keys_of_others_are_theirs(folder: Path, case: str) -> None:
    declared = "config:\n  services: {type: integer}\n" if "declares" in case else ""
    (folder / "Pulumi.yaml").write_text(PROJECT + declared)
    path = folder / "Pulumi.prod.yaml"
    before = load_file("prod", folder) if not declared else None
    path.write_text(path.read_text() + READ_ELSEWHERE[case])
    found = load_file("prod", folder)
    assert before in (None, found)
    assert not [p for p in found.problems if p.key.startswith(str(path))]


def test_what_pulumi_does_not_know_beside_config_is_warned_of(folder: Path) -> None:
    write(folder, "prod", prod(), secretprovider="passphrase", services={})
    write(folder, "lab", {"twin": "prod"})
    for stack in ("prod", "lab"):
        found = [p for p in load_file(stack, folder).problems if "Pulumi.prod" in p.key]
        assert [(p.severity, p.value) for p in found] == [
            ("warning", "secretprovider"), ("warning", "services"),
        ]  # fmt: skip
        assert found[1].cure == "write it under config:, as mesh:services"


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("bgpPassword-vultr", ""),
        ("bgpPassword-lax-vultr-1-transit", ""),
        ("sshKey-buyvm", " < KEYFILE"),
        ("alertReceiver-pager", ""),
    ],
)
@pytest.mark.parametrize("value", ["hunter2", 271828, ["hunter2"], {"value": "hunter2"}])
def test_a_secret_in_the_clear_is_refused_and_not_shown(
    folder: Path, key: str, file: str, value: Any
) -> None:
    write(folder, "mine", prod() | {key: value})
    with pytest.raises(SpecError) as told:
        load_file("mine", folder)
    (problem,) = told.value.problems
    assert (problem.severity, problem.key) == ("error", f"mesh:{key}")
    assert f"`pulumi config set --secret mesh:{key} --stack mine{file}`" in problem.cure
    assert f"{folder}/Pulumi.mine.yaml" in problem.reason
    assert "hunter2" not in str(problem) and "271828" not in str(problem)


def test_so_is_one_of_the_project_file(folder: Path) -> None:
    text = f"{PROJECT}config:\n  mesh:bgpPassword-vultr: {{value: hunter2}}\n"
    (folder / "Pulumi.yaml").write_text(text)
    with pytest.raises(SpecError) as told:
        load_file("prod", folder)
    assert f"{folder}/Pulumi.yaml has it as text" in str(told.value)
    assert "remove it there, and `pulumi config set --secret mesh:bgpP" in str(told.value)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(("value", "told"), [(SEALED, None), ("", "the secret is empty")])
def test_one_that_is_encrypted_or_empty_is_not_in_the_clear(
    folder: Path, value: Any, told: str | None
) -> None:
    write(folder, "prod", prod() | {"bgpPassword-vultr": value})
    if told is None:
        assert "bgpPassword" not in str(load_file("prod", folder).problems)
    else:
        with pytest.raises(SpecError, match=told):
            load_file("prod", folder)


OPENED = ["acme/prod"]


def test_a_missing_key_may_come_from_an_environment(folder: Path) -> None:
    write(folder, "prod", without("asn", "reflectors"), environment=OPENED)
    with pytest.raises(Incomplete) as told:
        load_file("prod", folder)
    assert [p.key for p in told.value.unread] == ["mesh:asn", "mesh:reflectors"]
    assert "the environment acme/prod" in str(told.value)


@pytest.mark.parametrize(
    ("gone", "key"),
    [
        (("prefixes", "ipv4"), "mesh:regions.lax.block"),
        (("regions", "lax", "slots"), "mesh:nodes.lax-vultr-1"),
    ],
)
def test_what_an_environment_may_cure_is_not_planned_without_it(
    folder: Path, gone: tuple[str, ...], key: str
) -> None:
    values = prod()
    place = values
    for name in gone[:-1]:
        place = place[name]
    del place[gone[-1]]
    write(folder, "prod", values, environment=OPENED)
    with pytest.raises(Incomplete) as told:
        load_file("prod", folder)
    assert key in [problem.key for problem in told.value.unread]


def test_so_may_a_part_of_a_map_and_what_others_refer_to(folder: Path) -> None:
    values = prod() | {"reflectors": ["ord-vultr-2"]}
    del values["tunnels"]["ipv6"]
    write(folder, "prod", values, environment=OPENED)
    with pytest.raises(Incomplete) as told:
        load_file("prod", folder)
    assert [p.key for p in told.value.unread] == ["mesh:tunnels.ipv6", "mesh:reflectors"]
    assert "mesh:reflectors" in {p.key for p in told.value.problems if p.severity == "warning"}


def test_what_is_wrong_whatever_an_environment_adds_is_an_error(folder: Path) -> None:
    for key, value in (
        ("asn", 64512),
        ("whoami", "perhaps"),
        ("prefixes", {"ipv4": "100.64.0.0/10"}),
    ):
        write(folder, "prod", prod() | {key: value}, environment=OPENED)
        with pytest.raises(SpecError) as told:
            load_file("prod", folder)
        assert not isinstance(told.value, Incomplete)
        assert all(problem.key.startswith(f"mesh:{key}") for problem in told.value.problems)


def test_a_complete_file_with_an_environment_is_a_network_and_a_warning(folder: Path) -> None:
    write(folder, "prod", prod(), environment=OPENED)
    loaded = load_file("prod", folder)
    assert loaded.spec == load("prod", prod(), folder).spec
    assert loaded.problems[0].key == "environment"


DEFINITIONS: list[tuple[Any, Environment | None]] = [
    (["acme/prod", "acme/keys"], Environment(("acme/prod", "acme/keys"), ())),
    ([], None),
    ({"imports": ["a", {"b": {"merge": False}}]}, Environment(("a", "b"), ())),
    ({"values": {"pulumiConfig": {"mesh:asn": 1, "aws:region": "x"}}}, Environment((), ("asn",))),
    ({"values": {"pulumiConfig": {"aws:region": "x"}}}, None),
    ({"values": {"pulumiConfig": {"fn::open::x": {}}}}, Environment((), None)),
    ({"values": {"pulumiConfig": "${other}"}}, Environment((), None)),
    ({"values": None}, None),
]


@pytest.mark.parametrize(("written", "meant"), DEFINITIONS)
def test_which_keys_an_environment_may_set(
    folder: Path, written: Any, meant: Environment | None
) -> None:
    write(folder, "prod", prod(), environment=written)
    assert read(nearest(folder), folder / "Pulumi.prod.yaml").environment == meant


def test_an_environment_that_names_its_keys_leaves_the_others_alone(folder: Path) -> None:
    own = {"values": {"pulumiConfig": {"mesh:asn": 27218}}}
    write(folder, "prod", without("asn", "reflectors"), environment=own)
    with pytest.raises(SpecError) as told:
        load_file("prod", folder)
    assert [p.key for p in told.value.problems if p.severity == "error"] == ["mesh:reflectors"]


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(ParseError, match="aliases make this document too large"):
        read_yaml("\n".join(lines).encode())


def test_documents_that_are_nested_too_deeply_are_refused() -> None:
    with pytest.raises(ParseError, match="nested too deeply"):
        read_yaml(b"[" * 1000)


@pytest.mark.parametrize("text", ["a..", ".a", "a[", "a[x]", 'a["x]', "[0]", "", "a[1", "a.[0]"])
def test_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(paths.InvalidPath):
        paths.parse(text)


def test_paths_are_the_engines() -> None:
    assert paths.parse('nodes["lax-vultr-1"].number') == ("nodes", "lax-vultr-1", "number")
    assert paths.parse('a[0][1].b["c\\"d"]') == ("a", 0, 1, "b", 'c"d')


def test_the_repositorys_files_are_read_as_before() -> None:
    """Byte for byte as they are; YAML 1.1 and the engine agree on them."""
    for file in (ROOT / "Pulumi.prod.yaml", *(ROOT / "examples").glob("*.yaml")):
        config = yaml.safe_load(file.read_text())["config"]
        plain = {key.removeprefix("mesh:"): value for key, value in config.items()}
        assert read_stack_file(file) == plain
