"""How an OpenBSD node comes to its bundle: the startup script of its server, and its user data.

OpenBSD has no cloud-init. The startup script is the same for all nodes and holds no secret: it
fetches the user data, a shell script below the operator's signature (:mod:`mesh.trust.signify`),
which has all files of the node's first boot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mesh.plan import Node, Plan
from mesh.render.files import File
from mesh.render.seed import Seed, Sign, document
from mesh.render.templates import rendered

PACKAGES = ("py3-cryptography", "py3-pydantic", "wireguard-tools", "bird")
"""Packages of every OpenBSD node, without their versions. Python comes with those that need it: its
own is named python, of which there are several versions."""

SUPERVISION = {"watchdog": 30, "grace": 30, "patience": 15, "ends": 3}
"""Seconds without a sign of life until the agent is killed, and without an agent that works until
the node withdraws; seconds of a bundle's trial, and how often its agent may end in it."""

MARK = "Anycast Mesh user data"
"""What the second line of a node's user data says: other texts of the operator are not run."""

_END = "ANYCAST-MESH-END"
_PROGRAMS = "/usr/local/libexec/anycast-mesh"
_ETC = "/etc/anycast-mesh"
_PATH = re.compile(r"(?:/[A-Za-z0-9._-]+)+")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")


class NotPlain(ValueError):
    """A text that cannot stand in a shell script as it is."""


def startup_script(operator: str) -> str:
    """The startup script of all OpenBSD servers of a network, for this public key (base64)."""
    files = (
        _public_key(operator),
        File(f"{_PROGRAMS}/fetch", _rendered("fetch.sh.j2", mark=MARK), 0o755),
        _service("fetch", "fetch"),
    )
    return _script("startup.sh.j2", files)


def signed_script(plan: Plan, node: Node, seed: Seed, sign: Sign) -> str:
    """The user data of an OpenBSD node."""
    for url in seed.registries:
        if not _URL.fullmatch(url):
            raise NotPlain(f"{url}: is not the address of a registry")
    files = [
        File("/etc/pf.conf", _base_rules(plan, node), 0o600),
        File(f"{_ETC}/registries", "".join(f"{url}\n" for url in seed.registries)),
        File(f"{_ETC}/bundle.sha256.sig", sign(f"SHA256 (bundle.pyz) = {seed.bundle}\n")),
        *boot_files(),
        # Last, so that all other files exist when it does.
        File(f"{_ETC}/seed.json", document(plan, node, seed), 0o600),
    ]
    if seed.operator:  # empty where user data are only displayed
        files.insert(0, _public_key(seed.operator))
    keys = plan.access.ssh_keys
    return sign(_script("user-data.sh.j2", files, node=node, keys=keys, mark=MARK))


def boot_files() -> tuple[File, ...]:
    """The programs of a node's first boot, and its agent's supervisor: the same for all nodes."""
    return (
        File(f"{_PROGRAMS}/bootstrap", _rendered("bootstrap.sh.j2", packages=PACKAGES), 0o755),
        File(f"{_PROGRAMS}/supervise", _rendered("supervise.sh.j2", **SUPERVISION), 0o755),
        _service("bootstrap", "bootstrap"),
        _service("agent", "supervise"),
    )


def _public_key(operator: str) -> File:
    # Imported here: a network without OpenBSD needs no keys to be rendered.
    from mesh.trust.signify import public_key

    return File(f"{_ETC}/operator.pub", public_key(operator))


def _base_rules(plan: Plan, node: Node) -> str:
    """pf's rules until the first generation."""
    return rendered("openbsd/network/pf-base.conf.j2", plan=plan, node=node)


def _service(name: str, program: str) -> File:
    """The rc.d script of a program of ours."""
    content = _rendered("service.j2", program=f"{_PROGRAMS}/{program}")
    return File(f"/etc/rc.d/anycast_mesh_{name}", content, 0o755)


def _script(template: str, files: Sequence[File], **values: object) -> str:
    for file in files:
        if not _PATH.fullmatch(file.path):
            raise NotPlain(f"{file.path}: is not a plain path")
        lines = file.content.splitlines(keepends=True)
        if _END in file.content or not all(line.endswith("\n") for line in lines):
            raise NotPlain(f"{file.path}: its content cannot stand in a here-document")
    text = _rendered(template, files=files, end=_END, **values)
    if not text.isascii() or "\0" in text:
        raise NotPlain(f"{template}: holds a character that is not ASCII")
    return text


def _rendered(template: str, **values: object) -> str:
    return rendered(f"openbsd/bootstrap/{template}", **values)
