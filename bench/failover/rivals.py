"""ExaBGP's healthcheck and anycast-healthchecker, as their documents have them set up: each place
announces the service's addresses to a router, whose BIRD prefers the first place.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import venv
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.failover.sites import ADDRESSES, DAEMON, Site
from mesh.cli.environment import checkout
from mesh.lab import namespaces
from mesh.netns import entering
from tests.kit.machines import Wire

PACKAGES = ("exabgp", "anycast-healthchecker")
ROUTER, ROUTER_ASN, PLACES_ASN = 201, 65000, 65001
HOSTS = {"first": 11, "second": 12}
COMMAND = "/usr/bin/curl -sf -o /dev/null{limit} http://127.0.0.1/check"
LOCAL = "\n".join(f"{a}/{32 if f == 'IPv4' else 128}" for f, a in ADDRESSES.items()).splitlines()


class NotHere(Exception):
    """The rivals cannot be installed."""


def installed() -> Path:
    """The folder of their programs, made once for each checkout."""
    home = checkout() / ".mesh" / "failover"
    programs = home / "bin"
    if not (programs / PACKAGES[1]).exists():
        venv.create(home, with_pip=True)
        done = subprocess.run(
            [programs / "pip", "install", "--quiet", *PACKAGES],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise NotHere(f"{', '.join(PACKAGES)}: {done.stderr.strip()}")
    return programs


class Rival(Site):
    """Two places and the router."""

    home, other = "first", "second"
    preference: ClassVar[Mapping[str, str]]
    """What the router does with the routes of a place."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._checkers: dict[str, subprocess.Popen[bytes]] = {}
        self._put_router()
        for place, host in HOSTS.items():
            namespaces.ip([f"address add {a} dev lo" for a in LOCAL], self.put_host(host))
            self.serve(place)
        for place, host in HOSTS.items():
            self._checkers[place] = self.start_checker(place, host)
        self.attach(ROUTER)
        self.client.served_by(self.home)

    @property
    def checker(self) -> int:
        """Its first process."""
        return self._checkers[self.home].pid

    @abstractmethod
    def start_checker(self, place: str, host: int) -> subprocess.Popen[bytes]:
        """Starts what checks and announces."""

    def start_daemon(self, place: str) -> subprocess.Popen[bytes]:
        """In the place's network."""
        return self.spawn(HOSTS[place], [sys.executable, str(DAEMON), place, str(self.lose)])

    def pid(self, place: str) -> int:
        """The command that entered becomes it."""
        return self._daemons[place].pid

    @property
    def lose(self) -> Path:
        """A file of this machine."""
        return self.folder / "lose-one"

    def close(self) -> None:
        """All that runs ends."""
        for one in self._checkers.values():
            # Its children too: it has a process group of its own.
            os.killpg(one.pid, 9)
            one.wait()
        super().close()

    def spawn(
        self, host: int, command: list[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a command in a place's network, its output in a file."""
        with (self.folder / f"{Path(command[0]).name}-{host}.log").open("ab") as log:
            return subprocess.Popen(
                [*entering(self.space(host)), *command], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, env={**os.environ, **(env or {})},
            )  # fmt: skip

    def _put_router(self) -> None:
        namespaces.sysctl(self.put_host(ROUTER), {
            "ipv4/ip_forward": "1", "ipv4/conf/all/send_redirects": "0",
            "ipv4/conf/enp9s0/send_redirects": "0", "ipv6/conf/all/forwarding": "1",
        })  # fmt: skip
        conf = "\n".join(
            f"protocol kernel {{ ipv{n} {{ import none; export where source = RTS_BGP; }}; }}"
            for n in (4, 6)
        )
        for place, host in HOSTS.items():
            for n, net in ((4, "203.0.113."), (6, "2001:db8::")):
                near = f"{net}{ROUTER if n == 4 else format(ROUTER, 'x')}"
                far = f"{net}{host if n == 4 else format(host, 'x')}"
                conf += f"""
protocol bgp {place}{n} {{
    local {near} as {ROUTER_ASN};
    neighbor {far} as {PLACES_ASN};
    connect delay time 1; connect retry time 1; error wait time 1, 2;
    ipv{n} {{ import filter {{ {self.preference[place]} accept; }}; export none; }};
}}"""
        self.put_bird(ROUTER, conf + "\n")


class ExaBgp(Rival):
    """ExaBGP with its healthcheck: a place whose check fails raises its metric."""

    preference: ClassVar = {"first": "", "second": ""}

    def __init__(self, wire: Wire, *, fastest: bool) -> None:
        self._fastest = fastest
        self.interval, self.longest = (0.1, 10.0) if fastest else (5.0, 60.0)
        super().__init__(wire)

    def start_checker(self, place: str, host: int) -> subprocess.Popen[bytes]:
        """The BGP daemon, which starts the check."""
        limit = " -m 0.1" if self._fastest else ""
        options = f"--up-metric {100 if place == 'first' else 200}"
        if self._fastest:
            options += " --interval 0.1 --fast-interval 0.1 --rise 1 --fall 1 --timeout 1"
        addresses = " ".join(f"--ip {a}" for a in LOCAL)
        check = f"{installed()}/exabgp-healthcheck --no-ip-setup {options} {addresses}"
        conf = (
            f'process watch {{ encoder text; run {check} --cmd "{COMMAND.format(limit=limit)}"; }}'
        )
        for n, near, far in (
            (4, f"203.0.113.{host}", f"203.0.113.{ROUTER}"),
            (6, f"2001:db8::{host:x}", f"2001:db8::{ROUTER:x}"),
        ):
            conf += f"""
neighbor {far} {{
    router-id 203.0.113.{host}; local-address {near};
    local-as {PLACES_ASN}; peer-as {ROUTER_ASN};
    family {{ ipv{n} unicast; }}
    api {{ processes [ watch ]; }}
}}"""
        path = self.folder / f"exabgp-{host}.conf"
        path.write_text(conf + "\n")
        env = {"exabgp_daemon_user": "root", "exabgp_api_cli": "false", "exabgp_log_level": "INFO"}
        return self.spawn(host, [f"{installed()}/exabgp", "server", str(path)], env)


class AnycastHealthchecker(Rival):
    """anycast-healthchecker with BIRD: a place whose check fails withdraws."""

    preference: ClassVar = {"first": "bgp_local_pref = 200;", "second": "bgp_local_pref = 100;"}

    def __init__(self, wire: Wire, *, fastest: bool) -> None:
        self._fastest = fastest
        self.interval, self.longest = (0.1, 10.0) if fastest else (10.0, 60.0)
        super().__init__(wire)

    def start_checker(self, place: str, host: int) -> subprocess.Popen[bytes]:
        """The place's BIRD, and what writes its prefixes."""
        conf = 'include "/etc/bird/anycast4.conf";\ninclude "/etc/bird/anycast6.conf";\n'
        prefixes = {4: "ACAST_PS_ADVERTISE", 6: "ACAST6_PS_ADVERTISE"}
        conf += 'protocol direct { interface "lo"; ipv4; ipv6; }\n'
        for n, net in ((4, "203.0.113."), (6, "2001:db8::")):
            near = f"{net}{host if n == 4 else format(host, 'x')}"
            far = f"{net}{ROUTER if n == 4 else format(ROUTER, 'x')}"
            conf += f"""
protocol bgp router{n} {{
    local {near} as {PLACES_ASN};
    neighbor {far} as {ROUTER_ASN};
    connect delay time 1; connect retry time 1; error wait time 1, 2;
    ipv{n} {{ import none; export where net ~ {prefixes[n]}; }};
}}
"""
        home = self.folder / f"anycast-{host}"
        home.mkdir()
        dummies = {4: "10.189.200.255/32", 6: "2001:db8:ffff::1/128"}
        machine = self.put_bird(host, conf, {
            f"anycast{n}.conf": f"define {prefixes[n]} = [ {dummies[n]} ];\n" for n in (4, 6)
        })  # fmt: skip
        reconfigure = home / "reconfigure"
        reconfigure.write_text(f"#!/bin/sh\nexec chroot {machine.root} birdc configure\n")
        reconfigure.chmod(reconfigure.stat().st_mode | stat.S_IXUSR)
        (home / "main.conf").write_text(f"""[DEFAULT]
interface = lo
[daemon]
pidfile = {home}/pid
ipv4 = true
ipv6 = true
bird_conf = {machine.root}/etc/bird/anycast4.conf
bird6_conf = {machine.root}/etc/bird/anycast6.conf
bird_variable = {prefixes[4]}
bird6_variable = {prefixes[6]}
bird_reconfigure_cmd = {reconfigure}
bird6_reconfigure_cmd = {reconfigure}
dummy_ip_prefix = {dummies[4]}
dummy_ip6_prefix = {dummies[6]}
log_file = {home}/log
stderr_file = {home}/stderr
""")
        limit = " -m 0.1" if self._fastest else ""
        settings = "check_interval = 0.1\ncheck_timeout = 0.1\ncheck_rise = 1\ncheck_fail = 1\n"
        services = home / "services"
        services.mkdir()
        for n, address in zip((4, 6), LOCAL, strict=True):
            (services / f"web{n}.conf").write_text(
                f"[web{n}]\ncheck_disabled = false\nip_prefix = {address}\n"
                f"check_cmd = {COMMAND.format(limit=limit)}\n{settings if self._fastest else ''}"
            )
        program = f"{installed()}/anycast-healthchecker"
        return self.spawn(host, [program, "-f", str(home / "main.conf"), "-d", str(services)])
