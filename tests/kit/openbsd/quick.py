"""An agent's view of a machine of stand-ins whose commands run in this process: a process for each
would take a tenth of a second to start."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from unittest.mock import patch

from mesh.agent.host import CommandFailed, Host, Result
from mesh.agent.sshd import SSHD
from tests.kit.openbsd import ifconfig, netstart, pfctl, route, sysctl, wg
from tests.kit.openbsd.kernel import Ended
from tests.kit.openbsd.machine import OpenBsd

_HERE: dict[str, Callable[[list[str]], int]] = {
    "ifconfig": ifconfig.main, "netstat": route.netstat, "pfctl": pfctl.main,
    "route": route.main, "sysctl": sysctl.main, "wg": wg.main,
}  # fmt: skip


@dataclass(frozen=True)
class QuickHost(Host):
    """``ran`` are the commands so far."""

    ran: list[Sequence[str]] = field(default_factory=list, compare=False)
    environment: dict[str, str] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(machine: OpenBsd) -> QuickHost:
        """This machine's."""
        words = (f"{key}={value}" for key, value in machine.environment.items())
        prefix = ("env", "-i", *words)
        return QuickHost(machine.root, prefix, "/var/run", environment=machine.environment)

    def run(self, *command: str, given: str | None = None, timeout: float = 30.0) -> Result:
        """Runs a command."""
        self.ran.append(command)
        if command[:2] == ("sh", "/etc/netstart"):
            return self._here(netstart.main, command[2:], given)
        if command[0] == SSHD:
            return Result(0, "port 22\nlistenaddress 0.0.0.0:22\nlistenaddress [::]:22\n", "")
        if command[0] in _HERE:
            return self._here(_HERE[command[0]], command[1:], given)
        return Host.run(self, *command, given=given, timeout=timeout)

    def must(self, *command: str, given: str | None = None, timeout: float = 30.0) -> str:
        """What a command prints that has to go well."""
        result = self.run(*command, given=given, timeout=timeout)
        if result.code != 0:
            raise CommandFailed(f"{command[0]}: {result.why()}")
        return result.out

    def _here(
        self, main: Callable[[list[str]], int], arguments: Sequence[str], given: str | None
    ) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict("os.environ", self.environment),
            patch("sys.stdin", io.StringIO(given or "")),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                code = main(list(arguments))
            except Ended as ended:
                code = ended.code
                print(ended.said, file=err)
        return Result(code, out.getvalue(), err.getvalue())
