"""The program that a delivery runs on the host, as root: it reads requests from standard input, one
line of JSON each, and answers each with a line. Standard library only: the host has nothing else.

Run by hand, ``python3 receiver.py remove`` removes everything of the mesh from the host.

The record contains the state of a delivery, and of the host before it. It is written before the
first change, and removed last.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
Record = dict[str, Any]

HOME = Path("/var/lib/anycast-mesh")
ETC = Path("/etc/anycast-mesh")
# In a folder that the registry cannot read: saved files may contain passwords.
STATE = HOME / "state"
DELIVERY = STATE / "delivery"
RECORD = DELIVERY / "record.json"
ASIDE = DELIVERY / "aside"
PARTS = DELIVERY / "parts"
INSTANCE = ETC / "instance-id"
# Not in the world-writable /run/lock: whoever makes the file first could lock it for ever.
TURN = Path("/run/anycast-mesh-delivery")
RULESET = "/etc/nftables.conf"
OURS = (("inet", "mesh"), ("inet", "mesh_discard"))
"""Tables of the mesh: the firewall, and the blackholes."""
START = "/var/lib/cloud/scripts/per-boot/anycast-mesh"
OWN = (ETC, HOME, Path("/run/anycast-mesh"), Path("/usr/local/lib/anycast-mesh"))
UNITS = Path("/etc/systemd/system")
SERVICES = UNITS / "anycast-mesh-services.service"
ACCOUNTS = Path("/etc/sysusers.d/anycast-mesh.conf")
OUTSIDE = ("preference", "4243", "fwmark", "0x4243", "lookup", "4243")
"""The agent's rule for questions to other nodes' instances (mesh.agent.outside)."""
OTHERS = ("nftables.service", "bird.service", "ufw.service", "firewalld.service")
DUMMY, LOOPBACK = "dummy0", "lo"
UNDO = "anycast-mesh-undo"
UNDO_SECONDS = 60
ENVIRONMENT = {
    **os.environ,
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}


class Refused(Exception):
    """A request cannot be done; the message gives the reason."""


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command; returns exit code and output."""
    try:
        return subprocess.run(
            command, input=given, capture_output=True, text=True, env=ENVIRONMENT, timeout=120,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def must(*command: str, given: str | None = None) -> str:
    """Runs a command that has to succeed; returns its output."""
    done = run(*command, given=given)
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).split())[:300]
        raise Refused(f"{' '.join(command[:4])}: {output or done.returncode}")
    return done.stdout


# --- files ------------------------------------------------------------------------------------


def write(path: Path, content: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
    """Replace a file in one step; a power cut leaves the old one or the new one."""
    make_folders(path.parent)
    beside = path.with_name(f".{path.name}.mesh-new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Write a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and its parents."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700 if STATE in (one, *one.parents) else 0o755)


def digest(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def read_record() -> Record | None:
    """The record of a delivery; None where there was none."""
    try:
        record: Record = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return None
    return record


def write_record(record: Record) -> None:
    """Write the record."""
    write(RECORD, json.dumps(record, indent=1).encode(), 0o600)


def must_record() -> Record:
    """The record of the delivery in progress."""
    record = read_record()
    if record is None:
        raise Refused("there is no delivery on this host to continue")
    return record


# --- before -----------------------------------------------------------------------------------


def look(_request: Record) -> Answer:
    """Which node this host is, if any."""
    record = read_record()
    kept = ("node", "operator", "instance", "digest", "done")
    return {
        "born": (ETC / "seed.json").exists(),
        "record": record and {key: record[key] for key in kept},
    }


def begin(request: Record) -> Answer:
    """Record the host's state before the first change; a second time, continue."""
    record = read_record()
    if record is None:
        record = {
            "node": request["node"],
            "operator": request["operator"],
            "instance": request["instance"],
            "paths": request["paths"],
            "before": before(request["paths"]),
            "keys": {},
            "tables": [],
        }
    record |= {"digest": request["digest"], "done": False}
    record["paths"] = sorted({*record["paths"], *request["paths"]})
    write_record(record)
    write(DELIVERY / "receiver.py", request["receiver"].encode(), 0o600)
    write(INSTANCE, (record["instance"] + "\n").encode(), 0o644)
    return {"instance": record["instance"]}


def before(paths: Sequence[str]) -> Record:
    """The host's state: files that will be replaced, folders, units, settings, addresses."""
    files = {}
    for index, name in enumerate(paths):
        path = Path(name)
        if path.is_file():
            status = path.lstat()
            make_folders(ASIDE)
            shutil.copy2(path, ASIDE / str(index))
            files[name] = {
                "aside": str(index),
                "mode": status.st_mode & 0o7777,
                "owner": [status.st_uid, status.st_gid],
            }
    folders = {str(folder) for name in paths for folder in Path(name).parents}
    return {
        "files": files,
        "folders": sorted(folder for folder in folders if not Path(folder).exists()),
        "units": {unit: [state("is-enabled", unit), state("is-active", unit)] for unit in OTHERS},
        "settings": settings(),
        "dummy": addresses(DUMMY),
        "loopback": addresses(LOOPBACK),
    }


def state(verb: str, unit: str) -> str:
    """A unit's state in systemd, such as ``active``."""
    return (run("systemctl", verb, unit).stdout.split() or [""])[0]


def settings() -> dict[str, str]:
    """The kernel's network settings, to restore what a generation changes."""
    found = {}
    for pattern in ("ipv4/*", "ipv4/conf/*/*", "ipv6/conf/*/*"):
        for path in Path("/proc/sys/net").glob(pattern):
            with contextlib.suppress(OSError, ValueError):  # some are folders, some write-only
                found[str(path.relative_to("/proc/sys"))] = path.read_text().strip()
    return found


def addresses(interface: str) -> list[str] | None:
    """The addresses of an interface; None where there is no such interface."""
    if not Path("/sys/class/net", interface).exists():
        return None
    links = json.loads(must("ip", "-json", "address", "show", "dev", interface))
    return [f"{a['local']}/{a['prefixlen']}" for link in links for a in link.get("addr_info", [])]


# --- delivering -------------------------------------------------------------------------------


def have(request: Record) -> Answer:
    """For each of these files (path: SHA-256) that is missing, how many bytes have arrived."""
    offsets = {}
    for name, wanted in request["files"].items():
        if digest(Path(name)) != wanted:
            part = PARTS / wanted
            offsets[name] = part.stat().st_size if part.exists() else 0
    return {"offsets": offsets}


def take(request: Record) -> Answer:
    """Append the next bytes of a file."""
    make_folders(PARTS)
    with (PARTS / request["sha256"]).open("ab") as part:
        if part.tell() != request["offset"]:
            raise Refused("a part of a file arrived out of order")
        part.write(base64.b64decode(request["data"]))
    return {}


def put(request: Record) -> Answer:
    """Move a complete file to its place."""
    part = PARTS / request["sha256"]
    content = part.read_bytes() if part.exists() else b""
    if hashlib.sha256(content).hexdigest() != request["sha256"]:
        part.unlink(missing_ok=True)
        raise Refused(f"{request['path']}: what arrived is not what was sent")
    write(Path(request["path"]), content, request["mode"])
    part.unlink(missing_ok=True)
    return {}


def link(request: Record) -> Answer:
    """Make a symbolic link in one step."""
    path = Path(request["path"])
    beside = path.with_name(f".{path.name}.mesh-new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(request["to"])
    beside.replace(path)
    return {}


def keys(request: Record) -> Answer:
    """Add these public keys to that user's authorized keys, and record what was added."""
    record, user = must_record(), pwd.getpwnam(request["user"])
    path = Path(user.pw_dir, ".ssh/authorized_keys")
    content = path.read_bytes() if path.exists() else b""
    there = {body(line) for line in content.decode("utf-8", "replace").splitlines()}
    missing = [key for key in request["keys"] if body(key) not in there]
    if not missing:
        return {"added": 0}
    made = [str(one) for one in (path, path.parent) if not one.exists()]
    known = record["keys"].get(request["user"], {"made": made, "lines": []})
    known["lines"] = [*known["lines"], *missing]
    known["unended"] = known.get("unended", bool(content) and not content.endswith(b"\n"))
    record["keys"][request["user"]] = known
    write_record(record)
    owner, mode = (user.pw_uid, user.pw_gid), 0o600
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700)
        os.chown(path.parent, *owner)
    if path.exists():
        mode = path.stat().st_mode & 0o7777
    end = b"" if not content or content.endswith(b"\n") else b"\n"
    write(path, content + end + "".join(f"{key}\n" for key in missing).encode(), mode, owner)
    return {"added": len(missing)}


def body(line: str) -> str:
    """A public key's base64, which identifies it."""
    match = re.search(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ ([A-Za-z0-9+/=]+)", line)
    return match[1] if match else line.strip()


def close(_request: Record) -> Answer:
    """Load the base firewall, and undo it after a while unless ``settle`` is requested."""
    record = must_record()
    must("nft", "-c", "-f", RULESET)
    former = record["before"]["files"].get(RULESET)
    if former and not record["tables"]:
        record["tables"] = tables((ASIDE / former["aside"]).read_text(errors="replace"))
        write_record(record)
    run("systemctl", "stop", f"{UNDO}.timer")
    must(
        "systemd-run", "--quiet", "--collect", f"--unit={UNDO}", f"--on-active={UNDO_SECONDS}",
        "--timer-property=AccuracySec=1s", "nft", "delete", "table", "inet", "mesh",
    )  # fmt: skip
    must("nft", "-f", RULESET)
    return {"seconds": UNDO_SECONDS}


def tables(text: str) -> list[dict[str, Any]]:
    """The loaded tables of a ruleset file, as nft lists them."""
    found = []
    for family, name in re.findall(r"^\s*(?:add\s+)?table\s+(?:(\w+)\s+)?(\w+)\s*\{", text, re.M):
        listed = run("nft", "list", "table", family or "ip", name)
        if listed.returncode == 0 and (family, name) not in OURS:
            found.append({"name": [family or "ip", name], "rules": listed.stdout})
    return found


def settle(_request: Record) -> Answer:
    """The new firewall works: cancel the undo, and delete the tables of the former ruleset file,
    which could drop what the new one accepts."""
    must("systemctl", "stop", f"{UNDO}.timer")
    for table in must_record()["tables"]:
        run("nft", "delete", "table", *table["name"])
    return {}


def start(_request: Record) -> Answer:
    """Enable and start the node, as cloud-init would at every boot."""
    record = must_record()
    must("sh", START)
    write_record(record | {"done": True})
    shutil.rmtree(PARTS, ignore_errors=True)
    return {}


# --- removing ---------------------------------------------------------------------------------


def remove(request: Record) -> Answer:
    """Stop the mesh's units, remove its files, tunnels and addresses, and restore what was there
    before. Continues an interrupted removal."""
    record = read_record()
    if record is None and not ETC.exists():
        return {"removed": False}
    before = record["before"] if record else None
    paths = [Path(name) for name in (record["paths"] if record else [])]
    paths += [Path(name) for name in request.get("paths", [])]
    tunnels = our_tunnels()
    ours = sysctl_keys(Path("/etc/sysctl.d/99-anycast-mesh.conf"))
    stop_units()
    take_network(tunnels, before)
    take_accounts()
    for path in {*paths, *tunnels, *UNITS.glob("anycast-mesh-*")}:
        if not str(path).startswith(tuple(f"{own}/" for own in OWN)) and path.name:
            path.unlink(missing_ok=True)
    forget_firewall(record)
    if record and before:
        put_back(before)
        put_settings_back(before["settings"], ours)
        take_keys(record["keys"])
    run("systemctl", "daemon-reload")
    if run("systemctl", "is-active", "--quiet", "ssh.service").returncode == 0:
        run("systemctl", "reload", "ssh.service")
    if before:
        start_others(before["units"])
    # The record is removed last, so that an interrupted removal can continue.
    for folder in OWN:
        if folder != HOME:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in sorted((before or {}).get("folders", []), reverse=True):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    for inner in (*HOME.glob("*"), *HOME.glob("state/*")):
        if inner not in (DELIVERY, STATE):
            shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()
    RECORD.unlink(missing_ok=True)
    shutil.rmtree(HOME, ignore_errors=True)
    return {"removed": True}


def our_tunnels() -> list[Path]:
    """Files of the mesh's tunnels, recognised by their key; others are left alone."""
    mark = f"{HOME}/keys/wireguard.key"
    found = Path("/etc/wireguard").glob("wg-*.conf")
    return [path for path in found if mark in path.read_text(errors="replace")]


def stop_units() -> None:
    """Stop the mesh's units, and the withdrawal that stopping the agent starts."""
    names = {path.name for path in UNITS.glob("anycast-mesh-*.service")}
    names |= {path.name for path in UNITS.glob("*.wants/anycast-mesh-*.service")}
    listed = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "anycast-mesh-*")
    names |= {line.split()[0] for line in listed.stdout.splitlines() if line.split()}
    own = sorted(name for name in names if "@." not in name)
    # The agent first: it would restart the others.
    for name in sorted(own, key=lambda name: "agent" not in name):
        run("systemctl", "disable", "--now", name)
    run("systemctl", "stop", "anycast-mesh-withdraw.timer", "anycast-mesh-withdraw.service")
    run("systemctl", "stop", "bird.service")
    run("systemctl", "reset-failed", *own)


def take_network(tunnels: Sequence[Path], before: Record | None) -> None:
    """Delete the mesh's interfaces, addresses and rules that outlive their units."""
    for tunnel in tunnels:
        run("ip", "link", "delete", tunnel.stem)
    for priority in ("1000", "1001", "1002"):
        if (UNITS / "anycast-mesh-replies.service").exists():
            run("ip", "-4", "rule", "delete", "priority", priority)
            run("ip", "-6", "rule", "delete", "priority", priority)
    for family in ("-4", "-6"):
        run("ip", family, "rule", "delete", *OUTSIDE)
    take_services(before)
    if before is None:
        return
    if before["dummy"] is None:
        run("ip", "link", "delete", DUMMY)
        return
    for address in set(addresses(DUMMY) or []) - set(before["dummy"]):
        run("ip", "address", "delete", address, "dev", DUMMY)


def take_services(before: Record | None) -> None:
    """Delete the services' addresses that the host did not have, and the rule that comes before
    those of the host's own addresses."""
    if not SERVICES.exists():
        return
    own = (before or {}).get("loopback") or []
    unit = SERVICES.read_text()
    for address in set(re.findall(r" address replace (\S+) dev lo\b", unit)) - set(own):
        run("ip", "address", "delete", address, "dev", LOOPBACK)
    for family, table in re.findall(r" (-[46]) rule add preference 0 lookup (\d+)", unit):
        run("ip", family, "rule", "delete", "preference", "0", "lookup", table)


def take_accounts() -> None:
    """Delete the users of the mesh's daemons, which have ended; none of them owns a file."""
    if ACCOUNTS.exists():
        for user in re.findall(r"^u (mesh-[a-z]+) ", ACCOUNTS.read_text(), re.MULTILINE):
            run("userdel", user)


def forget_firewall(record: Record | None) -> None:
    """Delete the mesh's tables, and no others."""
    run("systemctl", "stop", f"{UNDO}.timer")
    was = record["before"]["units"]["nftables.service"] if record else ["disabled", "inactive"]
    if was[1] != "active":
        # Debian's ExecStop flushes all tables.
        drop_in = Path("/run/systemd/system/nftables.service.d/anycast-mesh.conf")
        make_folders(drop_in.parent)
        drop_in.write_text("[Service]\nExecStop=\n")
        run("systemctl", "daemon-reload")
        run("systemctl", "stop", "nftables.service")
        shutil.rmtree(drop_in.parent)
    for table in record["tables"] if record else []:
        if run("nft", "list", "table", *table["name"]).returncode:
            must("nft", "-f", "-", given=table["rules"])
    for name in OURS:
        run("nft", "delete", "table", *name)


def put_back(before: Record) -> None:
    """Restore replaced files."""
    for name, saved in before["files"].items():
        kept, path = ASIDE / saved["aside"], Path(name)
        write(path, kept.read_bytes(), saved["mode"], tuple(saved["owner"]))
        shutil.copystat(kept, path)


def sysctl_keys(path: Path) -> list[str]:
    """The settings in a file of sysctl.d, as paths below /proc/sys, in its order."""
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition("=")[0].strip() for line in lines if "=" in line and line[0] != "#"]
    return [name if "/" in name else name.replace(".", "/") for name in names]


def put_settings_back(settings: dict[str, str], ours: Sequence[str]) -> None:
    """Restore kernel settings."""
    # First those that reset others when written (ip_forward in the kernel's ip-sysctl).
    for name in sorted(ours, key=lambda name: "forward" not in name):
        path, was = Path("/proc/sys", name), settings.get(name)
        with contextlib.suppress(OSError):
            if was is not None and path.read_text().strip() != was:
                path.write_text(was)
    everything = [name for name in settings if "/conf/" in name]
    for name in everything if ours else []:
        path = Path("/proc/sys", name)
        with contextlib.suppress(OSError):
            if path.exists() and path.read_text().strip() != settings[name]:
                path.write_text(settings[name])


def take_keys(added: dict[str, Any]) -> None:
    """Remove the log-in keys that were added, and nothing else."""
    for user, known in added.items():
        try:
            path = Path(pwd.getpwnam(user).pw_dir, ".ssh/authorized_keys")
            status, lines = path.stat(), path.read_text().splitlines(keepends=True)
        except (KeyError, OSError):
            continue
        left = "".join(line for line in lines if line.rstrip("\n") not in known["lines"])
        if known["unended"]:
            left = left.removesuffix("\n")
        if not left and str(path) in known["made"]:
            path.unlink()
        else:
            write(path, left.encode(), status.st_mode & 0o7777, (status.st_uid, status.st_gid))
        if str(path.parent) in known["made"]:
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def start_others(units: dict[str, Sequence[str]]) -> None:
    """Restore whether units are enabled and run."""
    for unit, (enabled, active) in units.items():
        if enabled in ("enabled", "disabled"):
            run("systemctl", "--quiet", "enable" if enabled == "enabled" else "disable", unit)
        elif unit == "bird.service":
            run("systemctl", "--quiet", "disable", unit)  # the mesh installed it
        if active == "active":
            run("systemctl", "start", unit)


OPERATIONS: dict[str, Callable[[Record], Answer]] = {
    one.__name__: one
    for one in (look, begin, have, take, put, link, keys, close, settle, start, remove)
}


def answer(line: str, whose: str) -> Answer:
    """The answer to one request, unless another session has begun."""
    try:
        request = json.loads(line)
        with TURN.open("r+") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if turn.read() != whose:
                raise Refused("another delivery or removal has taken over")
            return {"answer": OPERATIONS[request["do"]](request)}
    except Refused as error:
        return {"refused": str(error)}
    except (OSError, KeyError, ValueError) as error:
        return {"refused": f"{type(error).__name__}: {error}"}


def take_turn() -> str:
    """Begin a session: requests of older ones, which may still arrive, are refused from now on."""
    whose = os.urandom(16).hex()
    descriptor = os.open(TURN, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        turn.truncate()
        turn.write(whose)
    return whose


def main() -> None:
    """Serve requests until standard input ends, or remove the mesh by hand."""
    os.umask(0o022)
    whose = take_turn()
    if sys.argv[1:] == ["remove"]:
        print(json.dumps(answer('{"do": "remove"}', whose)))
        return
    for line in sys.stdin:
        print(json.dumps(answer(line, whose)), flush=True)


if __name__ == "__main__":
    main()
