"""The account at Vultr: its key, and the BGP that it is set up for.

No provider has a resource for the BGP of an account; Vultr's API tells its state, so that a
preview can say what would leave every session down.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Iterator, Mapping
from http.client import HTTPMessage
from ipaddress import ip_address, ip_network
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pulumi.runtime import config as engine

from mesh.plan import Network
from mesh.spec import PASSWORD_PREFIX, Problem, Spec
from mesh.spec.problems import shown

API = "https://api.vultr.com/v2"
ENDPOINT = "VULTR_API_ENDPOINT"
"""Names another API than Vultr's own, as it does for Vultr's Ansible collection."""
DEADLINE = 10.0

KEY = "vultr:apiKey"
SET_KEY = f"pulumi config set --secret {KEY} (from my.vultr.com/settings/#settingsapi)"
NO_KEY = Problem(KEY, "unset", "Vultr wants the API key of an account", SET_KEY)
WRONG_KEY = Problem(KEY, "[secret]", "Vultr does not know this API key", SET_KEY)
BGP_PAGE = "the account's BGP page (my.vultr.com/bgp)"
OFF = "or set mesh:providers.vultr.checkAccount to false"


def api_key() -> str | None:
    """The key of the account, as the provider itself finds it."""
    return engine.get_config(KEY) or os.environ.get("VULTR_API_KEY") or None


def refusal(said: str) -> Problem:
    """What Vultr or the engine said instead of an answer, as a problem."""
    if "Invalid API token" in said or '"status":401' in said:
        return WRONG_KEY
    if "Unauthorized IP address" in said or '"status":403' in said:
        return Problem(
            KEY, "[secret]", "Vultr does not take this API key from this machine's address",
            "add the address under access control at my.vultr.com/settings/#settingsapi",
        )  # fmt: skip
    return Problem(
        "mesh:nodes", "vultr", f"Vultr does not answer: {_sentence(said)}",
        "try again; `pulumi preview -v 3 --logtostderr` shows more",
    )  # fmt: skip


def problems(spec: Spec, key: str) -> Iterator[Problem]:
    """Whether the account's BGP is what the stack file says; the password is never shown."""
    if not _is_private(_api()):
        yield Problem(
            ENDPOINT, shown(_api()), "the API key would cross the network in the clear",
            "give an https:// address, or unset it",
        )  # fmt: skip
        return
    password = engine.get_config(f"mesh:{PASSWORD_PREFIX}vultr") or ""
    try:
        found = list(compared(spec, _bgp(key), password))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, HTTPError) and error.code in (401, 403):
            said = error.read(1000).decode("utf-8", "replace")
            yield refusal(f'{said} "status":{error.code}')
            return
        yield Problem(
            "mesh:providers.vultr.checkAccount",
            "true",
            f"the account's BGP could not be looked at ({type(error).__name__})",
            f"see {BGP_PAGE}",
            "warning",
        )
        return
    yield from found


def _api() -> str:
    return os.environ.get(ENDPOINT) or API


def _is_private(url: str) -> bool:
    """Whether nobody on the way reads what is sent there."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return parts.scheme == "https"
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: urllib would carry the key to whatever host is named."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """None leaves the redirect as the answer, which is an HTTPError."""


def _bgp(key: str) -> dict[str, Any]:
    """``GET /account/bgp``. The standard library's client is there already; another one would
    cost a preview more than the question."""
    url = f"{_api()}/account/bgp"
    asked = Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310  seen before
    with build_opener(_Stay).open(asked, timeout=DEADLINE) as answer:
        return dict(json.load(answer)["bgp_info"])


def compared(spec: Spec, account: Mapping[str, Any], password: str) -> Iterator[Problem]:
    """What of the account's ``bgp_info`` is not what the stack file says."""
    if not account.get("enabled"):
        yield Problem(
            "mesh:asn", str(spec.asn), "BGP is not enabled for the account at Vultr",
            f"ask for it on {BGP_PAGE}, {OFF}",
        )  # fmt: skip
        return
    if str(account.get("asn")) != str(spec.asn):
        yield Problem(
            "mesh:asn", str(spec.asn),
            f"the account's BGP at Vultr is set up for AS{account.get('asn')}",
            f"have it changed on {BGP_PAGE}, {OFF}",
        )  # fmt: skip
    listed = list(_networks(account))
    for family, prefix in (("ipv4", spec.prefixes.ipv4), ("ipv6", spec.prefixes.ipv6)):
        if prefix is not None and not any(_covers(network, prefix) for network in listed):
            known = ", ".join(str(network) for network in listed) or "none"
            yield Problem(
                f"mesh:prefixes.{family}", str(prefix),
                f"the account at Vultr may not announce it (it lists {known})",
                f"add it on {BGP_PAGE}, {OFF}",
            )  # fmt: skip
    theirs = str(account.get("password") or "")
    if theirs and not hmac.compare_digest(theirs.encode(), password.encode()):
        yield Problem(
            f"mesh:{PASSWORD_PREFIX}vultr", "[secret]",
            "it is not the BGP password of the account at Vultr",
            f"pulumi config set --secret mesh:{PASSWORD_PREFIX}vultr (from {BGP_PAGE}), {OFF}",
        )  # fmt: skip


def _networks(account: Mapping[str, Any]) -> Iterator[Network]:
    """``networks``, whose entries have ``v4_subnet`` and ``v4_subnet_len``, or v6 likewise."""
    for each in account.get("networks") or ():
        for family in ("v4", "v6"):
            if each.get(f"{family}_subnet"):
                size = each[f"{family}_subnet_len"]
                yield ip_network(f"{each[f'{family}_subnet']}/{size}", strict=False)


def _covers(listed: Network, prefix: Network) -> bool:
    same = listed.version == prefix.version
    return same and prefix.subnet_of(listed)  # type: ignore[arg-type]  # checked by version


def _sentence(said: str) -> str:
    """What went wrong out of Terraform's list and the API's JSON."""
    found = re.search(r'"error":"([^"]+)"', said)
    return found[1] if found else " ".join(said.replace("*", " ").split())[-200:]
