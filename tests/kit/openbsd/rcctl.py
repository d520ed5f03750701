"""rcctl(8): which services are enabled, and their scripts in /etc/rc.d."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.kit.openbsd.kernel import ROOT, STATE, failed, path, unknown

BASE = {"sshd": "", "ntpd": "", "syslogd": "", "cron": "", "resolvd": "", "slaacd": "",
        "dhcpleased": "", "pflogd": "", "smtpd": "", "bgpd": "NO", "unwind": "NO", "httpd": "NO",
        "relayd": "NO"}  # fmt: skip
"""Daemons of the base system with their flags in /etc/rc.conf; NO is one that does not run."""
SPECIAL = {"accounting": "NO", "check_quotas": "YES", "ipsec": "NO", "library_aslr": "YES",
           "multicast": "NO", "pf": "YES", "spamd_black": "NO"}  # fmt: skip
_VARIABLES = ("class", "execdir", "flags", "logger", "rtable", "status", "timeout", "user")
ACTIONS = frozenset({"start", "stop", "restart", "reload", "check", "configtest"})
"""What a script of /etc/rc.d does."""
_LOCAL = "/etc/rc.conf.local"
_USAGE = """\
usage:	rcctl get|getdef|set service | daemon [variable [arguments]]
	rcctl [-df] check|reload|restart|stop|start daemon ...
	rcctl disable|enable|order [service | daemon ...]
	rcctl ls all|failed|off|on|rogue|started|stopped"""
_OUR_PLACES = re.compile(r"(?<![\w/.\-])/(?=(?:etc|var|usr/local|tmp|root)(?:/|\b))")


def main(arguments: list[str]) -> int:
    """One call of it."""
    rest, options = list(arguments), list[str]()
    while rest and rest[0] in ("-d", "-f", "-df", "-fd"):
        options.append(rest.pop(0))
    match rest:
        case [action, *services] if action in ACTIONS and services:
            return max(_act(options, action, each) for each in map(_scripted, services))
        case ["enable", *services] if services:
            for service in map(_available, services):
                enable(service)
        case ["disable", *services] if services:
            for service in map(_available, services):
                disable(service)
        case ["get" | "getdef", service]:
            return _get(_available(service), "")
        case ["get", service, variable] if variable in _VARIABLES:
            return _get(_available(service), variable)
        case ["set", service, variable, *words]:
            _set(_available(service), variable, words)
        case ["order", *services]:
            return _order(services)
        case ["ls", which]:
            return _list(which)
        case _:
            failed(_USAGE)
    return 0


def enabled(service: str) -> bool:
    """Whether a service starts when the machine does."""
    conf = _conf()
    if service in SPECIAL:
        return conf.get(service, SPECIAL[service]) != "NO"
    if service in BASE:
        return conf.get(f"{service}_flags", BASE[service]) != "NO"
    return service in scripts() and conf.get(f"{service}_flags") != "NO"


def scripts() -> list[str]:
    """``pkg_scripts``, in order of start."""
    return _conf().get("pkg_scripts", "").split()


def enable(service: str) -> None:
    """Has it start with the machine."""
    conf = _conf()
    if service in SPECIAL:
        conf.pop(service, None)
        if SPECIAL[service] == "NO":
            conf[service] = "YES"
    elif service in BASE:
        conf.pop(f"{service}_flags", None)
        if BASE[service] == "NO":
            conf[f"{service}_flags"] = ""
    else:
        if conf.get(f"{service}_flags") == "NO":
            del conf[f"{service}_flags"]
        names = conf.get("pkg_scripts", "").split()
        conf["pkg_scripts"] = " ".join(names if service in names else [*names, service])
    _keep(conf)


def disable(service: str) -> None:
    """Has it not start with the machine; one that runs goes on."""
    conf = _conf()
    if service in SPECIAL:
        conf.pop(service, None)
        if SPECIAL[service] == "YES":
            conf[service] = "NO"
    elif service in BASE:
        conf.pop(f"{service}_flags", None)
        if BASE[service] != "NO":
            conf[f"{service}_flags"] = "NO"
    else:
        conf.pop(f"{service}_flags", None)
        left = [name for name in conf.get("pkg_scripts", "").split() if name != service]
        conf["pkg_scripts"] = " ".join(left)
        if not left:
            del conf["pkg_scripts"]
    _keep(conf)


def run(service: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A script of /etc/rc.d, by mksh. Below another root its paths are that root's."""
    script = path(f"/etc/rc.d/{service}")
    environment = dict(os.environ, RC_CONF_LOCAL=str(path(_LOCAL)), KSH="mksh")
    if os.environ.get(ROOT, "/") != "/":
        script = mapped(script, Path(os.environ[STATE]) / "rc.d")
    return subprocess.run(
        ["mksh", str(script), *words], env=environment, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def mapped(script: Path, folder: Path) -> Path:
    """A copy of a script that names the files below the machine's root."""
    root = os.environ[ROOT].rstrip("/")
    folder.mkdir(exist_ok=True)
    copy = folder / script.name
    copy.write_text(_OUR_PLACES.sub(f"{root}/", script.read_text()))
    return copy


def _conf() -> dict[str, str]:
    file = path(_LOCAL)
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _keep(conf: dict[str, str]) -> None:
    file = path(_LOCAL)
    if not conf:
        file.unlink(missing_ok=True)
        return
    beside = file.with_name("rc.conf.local.new")
    beside.write_text("".join(f"{key}={value}\n" for key, value in sorted(conf.items())))
    beside.replace(file)


def _available(service: str) -> str:
    known = service in SPECIAL or service in BASE
    if not known and not os.access(path(f"/etc/rc.d/{service}"), os.X_OK):
        failed(f"rcctl: service {service} does not exist", 2)
    return service


def _scripted(service: str) -> str:
    if service in SPECIAL:
        failed(f'rcctl: "{service}" is a special variable, no rc.d(8) script')
    return _available(service)


def _act(options: list[str], action: str, service: str) -> int:
    if not path(f"/etc/rc.d/{service}").exists():
        # Of the base system a machine of the tests has names only: they run.
        print(f"{service}(ok)")
        return 0
    return run(service, *options, action).returncode


def _get(service: str, variable: str) -> int:
    conf, on = _conf(), enabled(service)
    if service in SPECIAL:
        print(conf.get(service, SPECIAL[service]))
        return 0 if on else 1
    values = {"class": "daemon", "execdir": "", "logger": "", "rtable": "0", "timeout": "30",
              "user": "root", "flags": "" if on else "NO"}  # fmt: skip
    values |= {key: conf[f"{service}_{key}"] for key in values if f"{service}_{key}" in conf}
    if variable == "status":
        return 0 if on else 1
    for key, value in values.items() if not variable else ():
        print(f"{service}_{key}={value}")
    if variable:
        print(values[variable])
    return 0 if on else 1


def _set(service: str, variable: str, words: list[str]) -> None:
    if variable == "status":
        if words not in (["on"], ["off"]):
            failed(_USAGE)
        (enable if words == ["on"] else disable)(service)
        return
    if variable not in _VARIABLES:
        failed(_USAGE)
    if service in SPECIAL:
        failed(f'rcctl: "{service}" is a special variable, cannot set "{variable}"')
    if not enabled(service):
        failed(f"rcctl: {service} is not enabled")
    conf = _conf()
    conf.pop(f"{service}_{variable}", None)
    if words:
        conf[f"{service}_{variable}"] = " ".join(words)
    _keep(conf)


def _order(services: list[str]) -> int:
    conf, names = _conf(), scripts()
    if not services:
        print(" ".join(names))
        return 0
    for service in services:
        if service in BASE or service in SPECIAL:
            failed(f"rcctl: {service} is not a pkg script")
        if service not in names:
            failed(f"rcctl: {service} is not enabled")
    conf["pkg_scripts"] = " ".join(dict.fromkeys([*services, *names]))
    _keep(conf)
    return 0


def _list(which: str) -> int:
    ours = [f.name for f in sorted(path("/etc/rc.d").iterdir()) if f.name != "rc.subr"]
    everything = sorted({*ours, *BASE, *SPECIAL})
    match which:
        case "all":
            found = everything
        case "on":
            found = [each for each in everything if enabled(each)]
        case "off":
            found = [each for each in everything if not enabled(each)]
        case "started" | "stopped" | "failed" | "rogue":
            unknown("rcctl", f"ls {which}")
        case _:
            failed(_USAGE)
    print("\n".join(found))
    return 0
