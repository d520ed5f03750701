"""A client of Vultr's v2 API, with typed answers and limits of time and size.

It follows no redirect, and sends the key over https or to this machine only. Requests other than
POST are repeated while the API is busy or does not answer. A POST is sent once, because after a
lost answer it is unknown whether it was done: ``making`` looks before it repeats one.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from mesh.infra.providers.vultr.v2 import errors, waiting
from mesh.infra.providers.vultr.v2.answers import (
    Account,
    Address,
    Answer,
    BareMetal,
    Bgp,
    Group,
    Image,
    Instance,
    MetalPlan,
    Name,
    Plan,
    Region,
    Rule,
    SshKey,
    StartupScript,
    UserData,
)
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.infra.providers.vultr.v2.http import httpx
from mesh.infra.providers.vultr.v2.waiting import Progress
from mesh.spec.problems import Problem, shown

A = TypeVar("A", bound=Answer)

API = "https://api.vultr.com/v2"
ENDPOINT = "VULTR_API_ENDPOINT"
"""The URL of another API than Vultr's own, as for Vultr's Ansible collection."""

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
"""Seconds; the first is for each read."""
SLOWEST = 60.0
"""Seconds for a whole answer, at most."""
LARGEST = 16 * 1024 * 1024
"""Bytes of an answer."""
PER_PAGE = "500"
"""The API's own maximum."""
PAGES = 200
RATE = 20
"""Requests of this process within one second; Vultr answers 429 above 30 from one address."""

RETRY_SECONDS = 120.0
"""Seconds for which a request is repeated while Vultr answers 429."""
AWAY = (0.5, 1.5, 4.0)
"""Seconds before each repetition where the API fails or cannot be reached."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
SHOWN = 1.0
"""Seconds of a pause from which it is shown."""


def connect(
    key: str,
    endpoint: str | None = None,
    retry_seconds: float = RETRY_SECONDS,
    progress: Progress = lambda _: None,
) -> Client:
    """A client for the account of ``key``. ``endpoint`` is ``https://…/v2``; by default that of
    ``VULTR_API_ENDPOINT``, or Vultr's own. Long pauses are shown by ``progress``. Nothing is sent
    yet.

    Raises :class:`ApiError` for an invalid key, and for an endpoint that would get it in the clear.
    """
    key = key.strip()
    if not key:
        raise ApiError("unset", errors.NO_KEY)
    if not re.fullmatch(r"[!-~]+", key):
        # httpx would show the key in its own error.
        reason = "it has characters that no API key has"
        raise ApiError("key", Problem(errors.KEY, errors.SECRET, reason, errors.SET_KEY))
    return Client(
        key, _checked(endpoint or os.environ.get(ENDPOINT) or API), retry_seconds, progress
    )


def _checked(endpoint: str) -> str:
    if not is_private(endpoint):
        cure = "give an https:// address, or unset it"
        problem = Problem(
            ENDPOINT, shown(endpoint), "the API key would cross the network in the clear", cure
        )
        raise ApiError("unset", problem)
    return endpoint.rstrip("/")


def is_private(url: str) -> bool:
    """Whether what is sent there is encrypted, or stays on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None:
        return False
    if parts.scheme != "http":
        return parts.scheme == "https"
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """One account. Threads may share it. Every method raises :class:`ApiError`."""

    def __init__(self, key: str, endpoint: str, retry_seconds: float, progress: Progress) -> None:
        self._key = key
        self._endpoint = endpoint
        self._retry_seconds = retry_seconds
        self._progress = progress
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {key}",
                "Accept": "application/json",
                # No compression: a small answer must not expand into a large one.
                "Accept-Encoding": "identity",
                "User-Agent": "anycast-mesh",
            },
            timeout=TIMEOUT,
            follow_redirects=False,
            # A proxy of the environment would see the key in plain HTTP.
            trust_env=endpoint.startswith("https:"),
        )
        self._turn = threading.Lock()
        self._turns = deque[float](maxlen=RATE)

    # Objects and lists; a list has all pages.

    def account(self) -> Account:
        """The account itself."""
        return self.get("/account", "account", Account)

    def bgp(self) -> Bgp:
        """The account's BGP."""
        return self.get("/account/bgp", "bgp_info", Bgp)

    def regions(self) -> tuple[Region, ...]:
        """Every region."""
        return self.list("/regions", "regions", Region)

    def images(self) -> tuple[Image, ...]:
        """Every operating system."""
        return self.list("/os", "os", Image)

    def plans(self) -> tuple[Plan, ...]:
        """Every size of instances."""
        return self.list("/plans", "plans", Plan)

    def metal_plans(self) -> tuple[MetalPlan, ...]:
        """Every kind of bare metal."""
        return self.list("/plans-metal", "plans_metal", MetalPlan)

    def ssh_keys(self) -> tuple[SshKey, ...]:
        """Every SSH key of the account."""
        return self.list("/ssh-keys", "ssh_keys", SshKey)

    def startup_scripts(self) -> tuple[StartupScript, ...]:
        """Every startup script of the account, without its text."""
        return self.list("/startup-scripts", "startup_scripts", StartupScript)

    def addresses(self) -> tuple[Address, ...]:
        """Every reserved address of the account."""
        return self.list("/reserved-ips", "reserved_ips", Address)

    def groups(self) -> tuple[Group, ...]:
        """Every firewall group of the account."""
        return self.list("/firewalls", "firewall_groups", Group)

    def rules(self, group: str) -> tuple[Rule, ...]:
        """The rules of a group, by its id."""
        return self.list(f"/firewalls/{quote(group, '')}/rules", "firewall_rules", Rule)

    def instances(self) -> tuple[Instance, ...]:
        """Every instance of the account."""
        return self.list("/instances", "instances", Instance)

    def bare_metals(self) -> tuple[BareMetal, ...]:
        """Every bare metal server of the account."""
        return self.list("/bare-metals", "bare_metals", BareMetal)

    def addresses_of(self, instance: str) -> tuple[Name, ...]:
        """The IPv4 addresses of an instance with their reverse names."""
        return self.list(f"/instances/{quote(instance, '')}/ipv4", "ipv4s", Name)

    def reverse(self, instance: str) -> tuple[Name, ...]:
        """The reverse names of an instance's IPv6 addresses."""
        path = f"/instances/{quote(instance, '')}/ipv6/reverse"
        answer = self._ask("GET", path)
        return tuple(
            _typed(f"GET {path}", row, Name)
            for row in _rows(f"GET {path}", answer, "reverse_ipv6s")
        )

    def user_data(self, path: str) -> UserData:
        """The user data of the server at ``path`` (``/instances/ID``)."""
        return self.get(f"{path}/user-data", "user_data", UserData)

    # Requests by method.

    def get(self, path: str, name: str, model: type[A]) -> A:
        """One object: the field ``name`` of the answer. Ids in a path are Vultr's own."""
        return _named(f"GET {path}", self._ask("GET", path), name, model)

    def list(self, path: str, name: str, model: type[A]) -> tuple[A, ...]:
        """All objects of a list, page by page."""
        asked, found, seen = f"GET {path}", list[A](), set[str]()
        cursor = ""
        for _ in range(PAGES):
            query = {"per_page": PER_PAGE} | ({"cursor": cursor} if cursor else {})
            answer = self._ask("GET", path, query)
            found += (_typed(asked, row, model) for row in _rows(asked, answer, name))
            cursor = _next(asked, answer)
            if not cursor:
                return tuple(found)
            if cursor in seen:
                raise errors.nonsense(asked, f"{len(seen)} pages", "has pages that go in a circle")
            seen.add(cursor)
        raise errors.nonsense(asked, f"{PAGES} pages", "has pages without an end")

    def post(self, path: str, body: Mapping[str, Any], name: str, model: type[A]) -> A:
        """Make an object: the field ``name`` of the answer. Sent once; the error is of kind
        ``unclear`` or ``rate`` where it may have been made all the same, also where the answer
        cannot be read."""
        asked = f"POST {path}"
        try:
            return _named(asked, self._ask("POST", path, body=body), name, model)
        except ApiError as error:
            if error.kind != "answer":
                raise
            raise ApiError("unclear", error.problem) from None

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """PATCH, PUT, DELETE, or a POST without an answer; a POST is sent once."""
        self._ask(method, path, body=body)

    def close(self) -> None:
        """Close its connections, except in a process that is about to end: an abandoned request
        could read from a descriptor that is another connection's by then."""
        if not waiting.is_interrupted():
            self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # A request and its repetitions.

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """The JSON of the answer; None where there is none."""
        asked, begun = f"{method} {path}", time.monotonic()
        away = iter(AWAY)
        while True:
            try:
                return self._once(method, path, query, body)
            except ApiError as error:
                if method == "POST" or error.kind not in ("rate", "unclear", "unreachable"):
                    raise
                left = begun + self._retry_seconds - time.monotonic()
                pause = error.retry_after or next(away, None)
                if error.kind == "rate":
                    pause = pause or LONGEST_PAUSE / 4
                if pause is None or pause > left:
                    raise
                if pause >= SHOWN:
                    self._progress(f"{asked}: {error.problem.reason}; asked again in {pause:.0f} s")
            waiting.pause(pause, asked)

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Any:
        asked = f"{method} {path}"
        self._wait_for_turn(asked)
        with self._translated(asked):
            status, headers, content = waiting.interruptibly(
                lambda: self._exchange(method, path, query, body), asked
            )
        after = _seconds(headers.get("Retry-After"))
        if status == 429:
            raise errors.busy(asked, after)
        if status >= 500 or status == 408:
            raise errors.fault(asked, status, self._without_key(content), after)
        if status >= 400:
            raise errors.refusal(asked, status, self._without_key(content))
        if not 200 <= status < 300:
            what = "is a redirection, to which the API key is not sent"
            raise errors.nonsense(asked, f"HTTP {status}", what)
        if status == 204 or not content.strip():
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise errors.nonsense(asked, f"HTTP {status}", "is not JSON") from None

    def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> tuple[int, httpx.Headers, bytes]:
        asked, end = f"{method} {path}", time.monotonic() + SLOWEST
        with self._http.stream(
            method, f"{self._endpoint}{path}", params=query, json=body
        ) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > LARGEST:
                    what = f"is larger than {LARGEST >> 20} MiB"
                    raise errors.nonsense(asked, f"HTTP {response.status_code}", what)
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("the answer does not end")
        return response.status_code, response.headers, bytes(content)

    @contextmanager
    def _translated(self, asked: str) -> Iterator[None]:
        """Errors of the connection as ApiError, which contains no request with its key."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise errors.broken(asked, _why(error), sent=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise errors.broken(asked, _why(error), sent=True) from None

    def _without_key(self, content: bytes) -> bytes:
        return content.replace(self._key.encode(), errors.SECRET.encode())

    def _wait_for_turn(self, asked: str) -> None:
        """Keep the requests of all threads below Vultr's rate."""
        with self._turn:
            now = time.monotonic()
            full = len(self._turns) == RATE
            mine = max(now, self._turns[0] + 1.0) if full else now
            self._turns.append(mine)
        if mine > now:
            waiting.pause(mine - now, asked)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(header: str | None) -> float | None:
    """``Retry-After``: seconds, or a date; bounded."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, SHORTEST_PAUSE), LONGEST_PAUSE) if math.isfinite(seconds) else None


def _named(asked: str, answer: Any, name: str, model: type[A]) -> A:
    if not isinstance(answer, dict) or name not in answer:
        raise errors.nonsense(asked, name, f"has no {name}")
    return _typed(asked, answer[name], model)


def _rows(asked: str, answer: Any, name: str) -> list[Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get(name), list):
        raise errors.nonsense(asked, name, f"has no list of {name}")
    return list(answer[name])


def _typed(asked: str, value: Any, model: type[A]) -> A:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # The first of them, without values, which may be secret.
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or model.__name__
        lacks = first["type"] == "missing"
        what = f"lacks {field}" if lacks else f"has an invalid {field}"
        raise errors.nonsense(asked, field, what) from None


def _next(asked: str, answer: Any) -> str:
    """The cursor of the page that follows; empty on the last one."""
    try:
        cursor = answer["meta"]["links"]["next"]
    except (KeyError, TypeError):
        what = "does not show whether there are more pages"
        raise errors.nonsense(asked, "meta.links.next", what) from None
    return str(cursor or "")
