"""The account at Vultr: its key, and its BGP settings.

No resource manages the BGP of an account, but Vultr's API shows it, so that a preview can name what
would keep every session down.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from ipaddress import ip_network

from pulumi.runtime import config as engine

from mesh.infra.providers.vultr.v2.answers import Bgp
from mesh.infra.providers.vultr.v2.errors import KEY
from mesh.plan import Network
from mesh.spec import PASSWORD_PREFIX, Problem, Spec
from mesh.spec.aggregates import announced
from mesh.spec.ids import provider_of

VARIABLE = "VULTR_API_KEY"
BGP_PAGE = "the account's BGP page (my.vultr.com/bgp)"
OFF = "or set mesh:providers.vultr.checkAccount to false"


def api_key() -> str | None:
    """The account's API key, found as by the plugin and our own resources."""
    return engine.get_config(KEY) or os.environ.get(VARIABLE) or None


def password() -> str:
    """The stack file's BGP password for Vultr; empty where it has none."""
    return engine.get_config(f"mesh:{PASSWORD_PREFIX}vultr") or ""


def unclear(reason: str) -> Problem:
    """A warning that the account's BGP could not be checked."""
    return Problem(
        "mesh:providers.vultr.checkAccount", "true",
        f"the account's BGP could not be checked: {reason}", f"see {BGP_PAGE}", "warning",
    )  # fmt: skip


def compared(spec: Spec, account: Bgp, password: str) -> Iterator[Problem]:
    """Where the account's BGP differs from the stack file; no password is shown."""
    if not account.enabled:
        yield Problem(
            "mesh:asn", str(spec.asn), "BGP is not enabled for the account at Vultr",
            f"ask for it on {BGP_PAGE}, {OFF}",
        )  # fmt: skip
        return
    if account.asn != spec.asn:
        yield Problem(
            "mesh:asn", str(spec.asn),
            f"the account's BGP at Vultr is set up for AS{account.asn}",
            f"have it changed on {BGP_PAGE}, {OFF}",
        )  # fmt: skip
    listed = list(_networks(account))
    for each in announced(spec.prefixes):
        here = each.by is None or any(each.is_at(node_id) for node_id in _nodes(spec))
        if here and not any(_covers(network, each.prefix) for network in listed):
            known = ", ".join(str(network) for network in listed) or "none"
            yield Problem(
                each.key, str(each.prefix),
                f"the account at Vultr may not announce it (it lists {known})",
                f"add it on {BGP_PAGE}, {OFF}",
            )  # fmt: skip
    theirs = account.password
    if theirs and not hmac.compare_digest(theirs.encode(), password.encode()):
        yield Problem(
            f"mesh:{PASSWORD_PREFIX}vultr", "[secret]",
            "it is not the BGP password of the account at Vultr",
            f"pulumi config set --secret mesh:{PASSWORD_PREFIX}vultr (from {BGP_PAGE}), {OFF}",
        )  # fmt: skip


def _nodes(spec: Spec) -> list[str]:
    """The nodes at Vultr."""
    return [node_id for node_id in spec.nodes if provider_of(node_id) == "vultr"]


def _networks(account: Bgp) -> Iterator[Network]:
    """The prefixes that the account may announce; ValueError for an invalid one."""
    for each in account.networks:
        if each.v4_subnet:
            yield ip_network(f"{each.v4_subnet}/{each.v4_subnet_len}", strict=False)
        if each.v6_subnet:
            yield ip_network(f"{each.v6_subnet}/{each.v6_subnet_len}", strict=False)


def _covers(listed: Network, prefix: Network) -> bool:
    same = listed.version == prefix.version
    return same and prefix.subnet_of(listed)  # type: ignore[arg-type]  # checked by version
