"""Debian packages that a generation's units need: daemons, and modules of Python.

Only what is missing is installed. Debian's own unit of a daemon is masked before: it would listen
at every address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh.agent import log
from mesh.agent.host import CommandFailed, Host

DEADLINE = 600.0
"""Seconds for each of apt's commands."""
_APT = (
    "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", "-qq",
    "-o", "Dpkg::Options::=--force-confold",
    "-o", "DPkg::Lock::Timeout=120",
    "-o", "Acquire::http::Timeout=20",
    "-o", "Acquire::Retries=2",
    "-o", "APT::Update::Error-Mode=any",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Package:
    """A package: a file of it by which it is known to be there, and Debian's unit of it, where it
    has one."""

    name: str
    file: str
    unit: str | None = None


PACKAGES: dict[str, Package] = {
    "anycast-mesh-web": Package("nginx", "/usr/sbin/nginx", "nginx.service"),
    "anycast-mesh-dns": Package("nsd", "/usr/sbin/nsd", "nsd.service"),
    "anycast-mesh-glass.service": Package(
        "python3-jinja2", "/usr/lib/python3/dist-packages/jinja2/__init__.py"
    ),
    "anycast-mesh-prometheus.service": Package(
        "prometheus", "/usr/bin/prometheus", "prometheus.service"
    ),
    "anycast-mesh-alertmanager.service": Package(
        "prometheus-alertmanager",
        "/usr/bin/prometheus-alertmanager",
        "prometheus-alertmanager.service",
    ),
}
"""What our units need, by their names, or by those of their templates."""


def missing(host: Host, units: Iterable[str]) -> tuple[Package, ...]:
    """The packages that these units need, and the node does not have."""
    begun = {unit.partition("@")[0] for unit in units}
    return tuple(
        package
        for template, package in PACKAGES.items()
        if template in begun and not host.path(package.file).exists()
    )


def install(host: Host, units: Sequence[str]) -> None:
    """Installs what is missing, and starts nothing of it. Raises CommandFailed, in words, where the
    packages cannot be had."""
    wanted = missing(host, units)
    if not wanted:
        return
    names = [package.name for package in wanted]
    log.info("packages", install=", ".join(names))
    for package in wanted:
        if package.unit is not None:
            host.must("systemctl", "-q", "mask", package.unit)
    # What an installation that was cut short has left.
    host.run("dpkg", "--configure", "-a", "--force-confold", timeout=DEADLINE)
    updated = host.run(*_APT, "update", timeout=DEADLINE)
    # What else is on the node stays: on a host that existed before it may be the operator's.
    how = ("--no-install-recommends", "--no-remove", "install")
    done = host.run(*_APT, *how, *names, timeout=DEADLINE)
    if done.code != 0 or missing(host, units):
        # Without a mirror the second one only says that it knows no such package.
        why = (updated if updated.code else done).why()
        raise CommandFailed(
            f"packages {', '.join(names)}: apt-get does not install them: {why}; see that the node "
            "reaches its Debian mirror, or install them there by hand"
        )
