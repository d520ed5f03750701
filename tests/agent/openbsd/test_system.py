"""An agent that runs on OpenBSD, as far as a machine shows it that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mesh.agent import bundle, facts
from mesh.agent.host import Host
from mesh.agent.keys import own_keys
from mesh.agent.openbsd.beat import BEAT, Beat
from mesh.agent.systems import bird_of, openbsd
from mesh.operating_systems import OperatingSystem
from tests.kit.openbsd.machine import GATEWAY4, GATEWAY6, IPV4, IPV6, OpenBsd

ELSEWHERE = """
import importlib, os, pkgutil, select, socket, sys, sysconfig
import concurrent.futures, cryptography.x509, http.server, pydantic.fields, ssl, subprocess, uuid
from types import SimpleNamespace

sysconfig.get_config_vars()
os.uname = lambda: SimpleNamespace(sysname="OpenBSD", release="7.9")
sys.platform = "openbsd7"
absent = ("AF_NETLINK", "AF_PACKET", "NETLINK_", "PACKET_", "SO_BINDTODEVICE", "SO_MARK",
          "TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_USER_TIMEOUT")
for name in dir(socket):
    if name.startswith(absent):
        delattr(socket, name)
for name in ("O_PATH", "O_TMPFILE", "copy_file_range", "eventfd", "pidfd_open", "posix_fadvise",
             "sched_getaffinity", "sendfile", "setns", "splice", "unshare"):
    if hasattr(os, name):
        delattr(os, name)
del select.epoll

import mesh.agent
for module in pkgutil.walk_packages(mesh.agent.__path__, "mesh.agent."):
    importlib.import_module(module.name)

from mesh.agent import systems
print(systems.of(systems.here()).os, systems.here().path("/run/anycast-mesh"))
"""


def test_every_module_of_the_agent_is_to_be_had_where_linux_names_are_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=bundle.ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["openbsd", "/var/run/anycast-mesh"]


def test_a_node_tells_its_system_and_where_it_is_reached(tmp_path: Path) -> None:
    machine = OpenBsd(tmp_path, packages=(), release="7.9")
    machine.put("/etc/anycast-mesh/instance-id", "4f0c-77\n")
    host = machine.host()
    here = openbsd.system(host, bird_of(host))
    found = facts.facts(host, here.network, own_keys(host), facts.versions(here), False)
    assert (found.os, found.release, found.kernel_wireguard) == (
        OperatingSystem.OPENBSD, "7.9", True,
    )  # fmt: skip
    assert (found.instance_id, found.uplink, found.mtu) == ("4f0c-77", "vio0", 1500)
    assert (str(found.ipv4), str(found.gateway4)) == (IPV4, GATEWAY4)
    assert (str(found.ipv6), str(found.gateway6)) == (IPV6, GATEWAY6)


def test_the_supervisor_hears_that_an_agent_runs_and_later_that_it_works(tmp_path: Path) -> None:
    host = Host(tmp_path, run_folder="/var/run")
    beat, place = Beat(host), tmp_path / "var/run/anycast-mesh/beat"
    beat.started()
    assert place.read_text() == "started\n"
    place.unlink()  # The supervisor has heard it.
    assert beat.works()
    place.unlink()
    beat.beat()
    assert place.read_text() == "works\n"
    assert host.read(BEAT) == b"works\n"


def test_an_agent_that_cannot_write_goes_on(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("no folder")
    Beat(Host(tmp_path, run_folder="/var/run")).started()
