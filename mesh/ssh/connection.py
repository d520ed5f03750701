"""SSH to an existing host: host key check, log-in and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, TypeVar

import asyncssh
from pydantic import TypeAdapter

from mesh.operating_systems import OperatingSystem
from mesh.spec.problems import Problem
from mesh.ssh.problems import DeliveryError, HostUnreachable

MISSED = 3
"""Keepalives without an answer until the connection is lost, one each half of the target's
``patience``: a cut link is noticed after 15 to 20 s."""

MOST = 64 << 10
"""Bytes that are read and buffered of an answer."""

ASKED, SESSION = 60.0, 900.0
"""Seconds for a script, and for a whole connection: a host that never answers must not block the
run for ever."""

T = TypeVar("T")

_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Signature algorithms of a key type, where not its own name (RFC 8332)."""

_SOURCE = "receiver.py"
_LOADER = (
    "import sys; "
    "exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), 'receiver', 'exec'), "
    "{'__name__': '__main__'})"
)
"""The receiver comes over standard input, so the host needs nothing before. What Python reads ahead
is not lost: text and bytes share one buffer."""


@dataclass(frozen=True)
class Target:
    """A host, and how it is reached. ``host_keys`` are the public keys that it may present (type
    and base64); without any, ``trust_first`` accepts the first one. ``ssh_key`` is secret."""

    node: str
    provider: str
    address: str
    port: int
    user: str
    host_keys: tuple[str, ...]
    trust_first: bool
    ssh_key: str = field(repr=False)
    patience: float = 10.0
    """Seconds for a connection and for a log-in."""
    os: OperatingSystem = OperatingSystem.DEBIAN

    def key(self, name: str) -> str:
        """The stack file's key for this host."""
        return f"mesh:nodes.{self.node}.host.{name}"


class HostConnection:
    """An open connection. ``shown`` is the host key, as ``ssh-keyscan`` prints it."""

    def __init__(
        self, target: Target, connection: asyncssh.SSHClientConnection, shown: str
    ) -> None:
        self.target, self.shown = target, shown
        self._connection = connection

    async def sh(self, script: str) -> str:
        """The output of a shell script, whatever its exit code."""
        return await self._output(script, asyncssh.DEVNULL, "the first questions", ASKED)

    async def fed(self, command: str, given: bytes, seconds: float = ASKED) -> str:
        """The output of a command with that input, whatever its exit code. No log-in shell but a
        plain one reads what a script has."""
        return await self._output(command, asyncssh.STDOUT, "a question", seconds, given)

    async def _output(
        self, command: str, stderr: int, what: str, seconds: float, given: bytes | None = None
    ) -> str:
        try:
            async with (
                asyncio.timeout(seconds),
                self._connection.create_process(
                    command, stderr=stderr, encoding=None, window=MOST
                ) as process,
            ):
                if given is not None:
                    process.stdin.write(given)
                    process.stdin.write_eof()
                output = await _all(process.stdout)
        except TimeoutError:
            raise asyncssh.ConnectionLost(f"no answer within {seconds:g} s") from None
        if len(output) >= MOST:
            raise invalid_answer(self.target, what)
        return output.decode("utf-8", "replace")

    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        """The receiver, run as root on the host."""
        source = receiver_source().encode()
        sudo = "" if self.target.user == "root" else "sudo -n "
        command = f'{sudo}/usr/bin/python3 -I -c "{_LOADER}" {len(source)}'
        async with self._connection.create_process(command, encoding=None, window=MOST) as process:
            process.stdin.write(source)
            yield Receiver(self.target, process)
            process.stdin.write_eof()


class Receiver:
    """Requests to the receiver on the host."""

    def __init__(self, target: Target, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._target, self._process = target, process

    async def ask(self, do: str, shape: type[T], **request: Any) -> T:
        """The answer to a request, of that shape; raises DeliveryError where the host refuses, or
        its answer has another shape."""
        self._process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n") and len(line) < MOST:
            errors = (await _all(self._process.stderr)).decode("utf-8", "replace").split()
            raise asyncssh.ConnectionLost(
                " ".join(errors[-30:]) or "the receiver on the host ended"
            )
        try:
            answer = json.loads(line)
            refused = answer.get("refused")
            if refused is None:
                return TypeAdapter(shape).validate_python(answer["answer"])
        except (ValueError, AttributeError, KeyError, RecursionError):
            raise invalid_answer(self._target, repr(do)) from None
        raise DeliveryError(
            Problem(
                self._target.key("ipv4"), self._target.address,
                f"the host refuses {do!r}: {_short(refused)}",
                "correct that on the host, then run `pulumi up` again: it continues from there",
            )
        )  # fmt: skip


async def _all(reader: asyncssh.SSHReader[bytes]) -> bytes:
    """All output, up to ``MOST`` bytes."""
    output = b""
    while len(output) < MOST and (more := await reader.read(MOST - len(output))):
        output += more
    return output


def _short(text: object) -> str:
    """A text of the host in one line, short enough to read."""
    return " ".join(str(text).split())[:400]


def invalid_answer(target: Target, asked: str) -> DeliveryError:
    """The error for an answer that a node cannot give."""
    return DeliveryError(
        Problem(
            target.key("ipv4"), target.address,
            f"the host's answer to {asked} is invalid",
            f"check that the shell of {target.user} prints nothing by itself there "
            f"(`ssh {target.address} true`), and that it is still your host",
        )
    )  # fmt: skip


def receiver_source() -> str:
    """The program that runs on the host."""
    return files("mesh.ssh").joinpath(_SOURCE).read_text(encoding="utf-8")


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[HostConnection]:
    """A connection to the host, with its key checked; raises DeliveryError."""
    client = _login_key(target)
    expected = [_public(target, text) for text in target.host_keys]
    check = _HostKeyCheck(expected, target.trust_first)
    try:
        connection = await asyncssh.connect(
            target.address,
            target.port,
            username=target.user,
            client_keys=[client],
            client_factory=lambda: check,
            known_hosts=([], [], []),
            server_host_key_algs=_algorithms(expected),
            # Nothing of the operator's own configuration: only the stack counts.
            config=None,
            agent_path=None,
            gss_host=None,
            preferred_auth="publickey",
            connect_timeout=target.patience,
            login_timeout=target.patience,
            keepalive_interval=target.patience / 2,
            keepalive_count_max=MISSED,
        )
    except (OSError, asyncssh.Error, TimeoutError) as error:
        raise _refused(target, error, check, expected, client) from None
    async with connection:
        assert check.shown is not None, "a log-in needs a host key"
        try:
            async with asyncio.timeout(SESSION) as limit:
                yield HostConnection(target, connection, _text(check.shown))
        except (OSError, asyncssh.Error) as error:
            late = f"it did not end within {SESSION:g} s"
            raise _lost(target, late if limit.expired() else _reason(target, error)) from None
        finally:
            connection.abort()


class _HostKeyCheck(asyncssh.SSHClient):
    """Checks the key that a host presents."""

    def __init__(self, expected: Sequence[asyncssh.SSHKey], trust_first: bool) -> None:
        self._expected, self._trust_first = expected, trust_first
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Whether the key is configured; any, where none is and the first is trusted."""
        self.shown = key
        return key in self._expected if self._expected else self._trust_first


def _login_key(target: Target) -> asyncssh.SSHKey:
    key = f"mesh:sshKey-{target.provider}"
    try:
        return asyncssh.import_private_key(target.ssh_key)
    except asyncssh.KeyImportError as error:
        locked = "passphrase" in str(error).lower()
        raise DeliveryError(
            Problem(
                key, "[secret]",
                "the key has a passphrase, which cannot be entered here"
                if locked else "it is not a readable private key",
                f"make one for this purpose with `ssh-keygen -t ed25519 -N '' -f KEYFILE`, allow "
                f"it on the host, and `pulumi config set --secret {key} < KEYFILE`",
            )
        ) from None  # fmt: skip


def _public(target: Target, text: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(text)
    except asyncssh.KeyImportError:
        raise DeliveryError(
            Problem(
                target.key("ssh.hostKeys"), text[:40], "it is not a public host key",
                f"copy a line of `{scan(target.address, target.port)}`, without the address",
            )
        ) from None  # fmt: skip


def scan(address: str, port: int) -> str:
    """The command that shows a host's keys."""
    return f"ssh-keyscan{'' if port == 22 else f' -p {port}'} {address}"


def _algorithms(expected: Sequence[asyncssh.SSHKey]) -> list[str]:
    """Algorithms of the configured keys first, since a host presents the first that it has. All
    others follow, so that an error can show a wrong key of another type."""
    kinds = dict.fromkeys((*(key.get_algorithm() for key in expected), *_TYPES))
    return [name for kind in kinds for name in _ALGORITHMS.get(kind, (kind,))]


def _text(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def _refused(
    target: Target,
    error: Exception,
    check: _HostKeyCheck,
    expected: Sequence[asyncssh.SSHKey],
    client: asyncssh.SSHKey,
) -> DeliveryError:
    """Why there is no connection."""
    where = f"{target.address} port {target.port}"
    known = " or ".join(key.get_fingerprint() for key in expected)
    if isinstance(error, asyncssh.HostKeyNotVerifiable) and check.shown is not None:
        return DeliveryError(
            Problem(
                target.key("ssh.hostKeys"), known or "[]",
                f"the host at {where} presents another key, {check.shown.get_fingerprint()}: it "
                "was reinstalled, or another machine answers in its place",
                "compare with the provider's console, and only if it is the host's own set "
                f"hostKeys to [\"{_text(check.shown)}\"]",
            )
        )  # fmt: skip
    if isinstance(error, asyncssh.PermissionDenied):
        return DeliveryError(
            Problem(
                target.key("ssh.user"), target.user,
                f"the host at {where} does not accept the key of mesh:sshKey-{target.provider} "
                f"({client.get_fingerprint()})",
                f"put its public half into ~{target.user}/.ssh/authorized_keys there, or set "
                "mesh:sshKey or host.ssh.user to what the host accepts",
            )
        )  # fmt: skip
    return HostUnreachable(
        Problem(
            target.key("ipv4"), target.address, f"no SSH at {where}: {_reason(target, error)}",
            "check that it runs, that host.ssh.port is right, and that its firewall and its "
            f"provider's let this machine in; or take {target.node} out of mesh:nodes for now",
        )
    )  # fmt: skip


def _lost(target: Target, why: str) -> HostUnreachable:
    return HostUnreachable(
        Problem(
            target.key("ipv4"), target.address,
            f"the connection was lost: {why}",
            "run `pulumi up` again: it continues with what is missing",
        )
    )  # fmt: skip


def _reason(target: Target, error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {target.patience:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused, nothing listens there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return _short(error) or type(error).__name__
