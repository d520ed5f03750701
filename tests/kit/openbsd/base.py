"""Small commands of the base system."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kit.openbsd.kernel import ROOT, STATE, failed, opened, path, unknown

SHELL = shutil.which("mksh") or "/bin/sh"
"""The nearest to OpenBSD's ksh(1), which is its sh(1) as well."""


def uname(arguments: list[str]) -> int:
    """uname(1)."""
    letters = "".join(word[1:] for word in arguments) or "s"
    if any(not word.startswith("-") for word in arguments) or set(letters) - set("amnprsv"):
        failed("usage: uname [-amnprsv]")
    with opened() as kernel:
        values = {"s": "OpenBSD", "n": kernel.hostname, "r": kernel.release, "v": "GENERIC.MP#1",
                  "m": kernel.machine, "p": kernel.machine}  # fmt: skip
    order = "snrvm" if "a" in letters else [each for each in "snrvmp" if each in letters]
    print(" ".join(values[each] for each in order))
    return 0


def hostname(arguments: list[str]) -> int:
    """hostname(1)."""
    with opened() as kernel:
        if arguments and not arguments[0].startswith("-"):
            kernel.hostname = arguments[0]
        else:
            print(kernel.hostname.partition(".")[0] if arguments == ["-s"] else kernel.hostname)
    return 0


def shell(arguments: list[str]) -> int:
    """sh(1): a script by its name is the machine's."""
    words = list(arguments)
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), None)
    if at is not None and "-c" not in words[:at]:
        words[at] = str(_script(words[at]))
    os.execvp(SHELL, [SHELL, *words])


def _script(name: str) -> Path:
    """The script; below another root a copy that names that root's files."""
    # Only rcctl's module knows how, which needs more time to import.
    from tests.kit.openbsd import rcctl

    script = path(name)
    if os.environ.get(ROOT, "/") == "/" or not script.is_file() or not Path(name).is_absolute():
        return script
    return rcctl.mapped(script, Path(os.environ[STATE]) / "scripts")


def su(arguments: list[str]) -> int:
    """su(1), of root to anybody; nobody changes who the processes are."""
    rest = list(arguments)
    user = command = ""
    while rest:
        word = rest.pop(0)
        if word in ("-c", "-s") and not user:
            rest.pop(0)
        elif word == "-c":
            command = rest.pop(0)
        elif word.startswith("-"):
            if set(word[1:]) - set("fKLlm"):
                failed("usage: su [-fKLlm] [-a auth-type] [-c login-class] [-s login-shell]")
        elif not user:
            user = word
        else:
            unknown("su", word)
    if not re.search(rf"^{re.escape(user)}:", path("/etc/passwd").read_text(), re.MULTILINE):
        failed(f"su: no such login class or user: {user}")
    os.execvp("sh", ["sh", "-c", command])


def doas(arguments: list[str]) -> int:
    """doas(1), for one who may do everything."""
    rest = [word for word in arguments if word != "-n"]
    if not rest:
        failed("usage: doas [-Lns] [-a style] [-C config] [-u user] command [arg ...]")
    os.execvp(rest[0], rest)


def logger(arguments: list[str]) -> int:
    """logger(1): one line for each call, or for each line that is given."""
    rest, tag = list(arguments), "root"
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        if word[-1] in "ftp":
            value = rest.pop(0)
            tag = value if word.endswith("t") else tag
        elif set(word[1:]) - set("is"):
            failed("usage: logger [-is] [-f file] [-p pri] [-t tag] [message ...]")
    with path("/var/log/messages").open("a") as log:
        for line in [" ".join(rest)] if rest else sys.stdin:
            log.write(f"Nov 30 12:00:00 openbsd {tag}: {line.rstrip()}\n")
            log.flush()
    return 0


def sha256(arguments: list[str]) -> int:
    """sha256(1)."""
    rest, letters, checks = list(arguments), "", ""
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word in ("-C", "-c"):
            checks = rest.pop(0)
        letters += word[1:]
    if set(letters) - set("bCcqr"):
        unknown("sha256", f"-{letters}")
    if checks:
        return _checked(checks, rest if "C" in letters else None, "q" in letters)
    if not rest:
        digest = hashlib.sha256(sys.stdin.buffer.read())
        print(_text(digest.digest(), "b" in letters))
        return 0
    for name in rest:
        try:
            text = _text(hashlib.sha256(path(name).read_bytes()).digest(), "b" in letters)
        except OSError as error:
            failed(f"sha256: {name}: {error.strerror}")
        said = f"{text} {name}" if "r" in letters else f"SHA256 ({name}) = {text}"
        print(text if "q" in letters else said)
    return 0


def _text(digest: bytes, short: bool) -> str:
    return base64.b64encode(digest).decode() if short else digest.hex()


def _checked(checks: str, wanted: list[str] | None, quiet: bool) -> int:
    listed = re.findall(r"^SHA256 \((.+)\) = (\S+)$", path(checks).read_text(), re.MULTILINE)
    known = dict(listed)
    code = 0
    for name in known if wanted is None else wanted:
        if name not in known:
            print(f"(SHA256) {name}: NOT FOUND", file=sys.stderr)
            code = 1
            continue
        file = path(name)
        digest = hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b""
        good = known[name] in (digest.hex(), base64.b64encode(digest).decode()) and digest
        code = code if good else 1
        if not quiet or not good:
            print(f"(SHA256) {name}: {'OK' if good else 'FAILED'}")
    return code


def shutdown(arguments: list[str]) -> int:
    """shutdown(8) and reboot(8): said to the test, which does it."""
    (Path(os.environ[STATE]) / "shutdown").write_text(" ".join(arguments))
    return 0


def owned(arguments: list[str]) -> int:
    """chown(8) and chgrp(1): the owner has to be one of the machine's; without root nothing else
    is done."""
    words = [word for word in arguments if not word.startswith("-")]
    if len(words) < 2:
        failed("usage: chown [-h] [-R [-H | -L | -P]] owner[:group] file ...")
    for kind, name in zip(("passwd", "group"), re.split("[:.]", words[0]), strict=False):
        _known(kind, name)
    for name in words[1:]:
        if not path(name).exists():
            failed(f"chown: {name}: No such file or directory")
    return 0


def _known(kind: str, name: str) -> None:
    names = [line.partition(":")[0] for line in path(f"/etc/{kind}").read_text().splitlines()]
    if name and not name.isdigit() and name not in names:
        failed(f"chown: {name}: Invalid argument")


def install(arguments: list[str]) -> int:
    """install(1): -d makes folders, and else files are copied."""
    rest, letters, mode = list(arguments), "", 0o755
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word[1:2] in ("o", "g", "m") or word[-1] in ("o", "g", "m"):
            at = 1 if word[1:2] in ("o", "g", "m") else len(word) - 1
            value = word[at + 1 :] or rest.pop(0)
            letters += word[1:at]
            if word[at] == "m":
                mode = int(value, 8)
            else:
                _known("passwd" if word[at] == "o" else "group", value)
        else:
            letters += word[1:]
    if set(letters) - set("bCcDdFpSs") or not rest:
        failed("usage: install [-bCcDdFpSs] [-B suffix] [-f flags] [-g group] [-m mode] ...")
    if "d" in letters:
        for name in rest:
            path(name).mkdir(parents=True, exist_ok=True)
            path(name).chmod(mode)
        return 0
    *sources, target = (path(name) for name in rest)
    for source in sources:
        to = target / source.name if target.is_dir() else target
        beside = to.with_name(f".{to.name}.inst")
        shutil.copyfile(source, beside)
        beside.chmod(mode)
        beside.replace(to)
    return 0


def signify(arguments: list[str]) -> int:
    """signify(1): OpenBSD's own, which Debian has."""
    real = shutil.which("signify-openbsd")
    if real is None:
        failed("signify: the machine of the tests lacks Debian's package signify-openbsd", 64)
    words = [str(path(word)) if word.startswith("/") else word for word in arguments]
    return subprocess.run([real, *words], check=False).returncode
