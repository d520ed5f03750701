"""Stand-ins of commands that run in the process of their test, and a machine's host that has them
so: a process for each would take a tenth of a second to start."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from unittest.mock import patch

from mesh.agent.host import CommandFailed, Host, Result
from mesh.agent.sshd import SSHD
from tests.kit.openbsd import ifconfig, netstart, packages, pfctl, rcctl, route, sysctl, wg
from tests.kit.openbsd.kernel import Ended

Main = Callable[[list[str]], int]
_HERE: dict[str, Main] = {
    "ifconfig": ifconfig.main, "netstart": netstart.main, "netstat": route.netstat,
    "pfctl": pfctl.main, "pkg_add": packages.add, "pkg_info": packages.info, "rcctl": rcctl.main,
    "route": route.main, "sysctl": sysctl.main, "wg": wg.main,
}  # fmt: skip
"""Those that start no program whose output would be theirs."""
_ONE = threading.Lock()
"""Environment and output are the whole process's, and an agent has several threads."""


def found(command: Sequence[str]) -> Main | None:
    """The function of a command, if it is one of those."""
    if command[0] == "rcctl" and rcctl.ACTIONS.intersection(command):
        return None  # its script prints
    return _HERE.get(command[0])


def call(
    main: Main, arguments: Sequence[str], given: str, environment: Mapping[str, str]
) -> Result:
    """What a process of it would end with and print."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _ONE,
        patch.dict("os.environ", environment, clear=True),
        patch("sys.stdin", io.StringIO(given)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            code = main(list(arguments))
        except Ended as ended:
            code = ended.code
            if ended.said:
                print(ended.said, file=err)
    return Result(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class QuickHost(Host):
    """``ran`` are the commands so far."""

    ran: list[Sequence[str]] = field(default_factory=list, compare=False)
    environment: dict[str, str] = field(default_factory=dict, compare=False)

    def run(self, *command: str, given: str | None = None, timeout: float = 30.0) -> Result:
        """Runs a command."""
        self.ran.append(command)
        if command[:2] == ("sh", "/etc/netstart"):
            return call(netstart.main, command[2:], given or "", self.environment)
        if command[0] == SSHD:
            return Result(0, "port 22\nlistenaddress 0.0.0.0:22\nlistenaddress [::]:22\n", "")
        if (main := found(command)) is not None:
            return call(main, command[1:], given or "", self.environment)
        return Host.run(self, *command, given=given, timeout=timeout)

    def must(self, *command: str, given: str | None = None, timeout: float = 30.0) -> str:
        """What a command prints that has to go well."""
        result = self.run(*command, given=given, timeout=timeout)
        if result.code != 0:
            raise CommandFailed(f"{command[0]}: {result.why()}")
        return result.out
