"""A Linux kernel's network, by iproute2 and nftables.

What the node serves is bound on an interface, and BIRD originates it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mesh.agent import file_paths
from mesh.agent.host import CommandFailed, Host
from mesh.agent.network import ENDLESS, Discards, Uplink

TABLE = "inet mesh_discard"
SETS = {4: "addresses4", 6: "addresses6"}
INTERFACE = "dummy0"
"""The interface of what is served if the configuration cannot be read."""
_PROBE = "mesh-probe"
_UNIT = "/etc/systemd/system/anycast-mesh-dummy.service"
_OWN = re.compile(r"^ExecStart=.* address replace ([0-9a-f.:]+)/[0-9]+ dev ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class IpRoute:
    """The network of one node."""

    host: Host
    always: str = "lo"

    # --- interfaces and routes ---------------------------------------------------------------

    def uplink(self, version: int) -> Uplink | None:
        """By the default route with the best metric."""
        routes = [route for route in self._shown(version, "route", "default") if "dev" in route]
        if not routes:
            return None
        best = min(routes, key=lambda route: int(route.get("metric", 0)))
        interface = str(best["dev"])
        address = best.get("prefsrc") or self._main_address(interface, version)
        if address is None:
            return None
        gateway = best.get("gateway") or best.get("via", {}).get("host")
        return Uplink(interface, str(address), None if gateway is None else str(gateway))

    def mtu(self, interface: str) -> int | None:
        """By ``ip link show``."""
        result = self.host.run("ip", "-json", "link", "show", "dev", interface)
        links = json.loads(result.out or "[]") if result.code == 0 else []
        return int(links[0]["mtu"]) if links else None

    def has_wireguard(self) -> bool:
        """Whether an interface of that type can be made."""
        found = self.host.run("ip", "link", "add", _PROBE, "type", "wireguard").code == 0
        if found:
            self.host.run("ip", "link", "del", _PROBE)
        return found

    def addresses(self, interface: str) -> frozenset[str] | None:
        """By ``ip address show``."""
        result = self.host.run("ip", "-json", "address", "show", "dev", interface)
        if result.code == 1 and "does not exist" in result.err:
            return None
        if result.code != 0:
            raise CommandFailed(f"ip: {result.why()}")
        try:
            return frozenset(
                str(address["local"])
                for link in json.loads(result.out or "[]")
                for address in link.get("addr_info", [])
                if "local" in address and address.get("scope") != "link"
            )
        except ValueError:
            raise CommandFailed(f"ip: {result.out[:100]!r} is not its JSON") from None

    def tunnel_routes(self) -> frozenset[str]:
        """Those of the main table."""
        found: set[str] = set()
        for family in ("-4", "-6"):
            # A failed command does not mean that there are no routes.
            shown = self.host.must("ip", "-json", family, "route", "show", "table", "main")
            found |= by_tunnel(shown)
        return frozenset(found)

    def _shown(self, version: int, what: str, *which: str) -> list[dict[str, Any]]:
        """What ``ip`` shows; nothing if it fails."""
        result = self.host.run("ip", "-json", f"-{version}", what, "show", *which)
        found: list[dict[str, Any]] = json.loads(result.out or "[]") if result.code == 0 else []
        return found

    def _main_address(self, interface: str, version: int) -> str | None:
        links = self._shown(version, "address", "dev", interface)
        found = [one for link in links for one in link.get("addr_info", []) if _is_main(one)]
        return str(found[0]["local"]) if found else None

    # --- what is served ----------------------------------------------------------------------

    def served(self, interface: str) -> frozenset[str] | None:
        """All addresses on the interface; its unit brings it back if it is missing."""
        return self.addresses(interface)

    def serve(self, interface: str, add: Collection[str], remove: Collection[str]) -> str:
        """Binds and unbinds in one go; some lines may succeed although others fail."""
        lines = [_line("replace", address, interface) for address in sorted(add)]
        lines += [_line("del", address, interface) for address in sorted(remove)]
        result = self.host.run("ip", "-force", "-batch", "-", given="\n".join(lines) + "\n")
        return "" if result.code == 0 else result.why()

    def named(self, address: str, interface: str) -> str:
        """By its interface."""
        return f"address {address} on {interface}"

    def end_service(self) -> None:
        """Removes the addresses of services, of this or an earlier generation: those on the
        interface that its unit does not set. What the firewall discards ends by itself."""
        interface, services = self._configured()
        found = self.addresses(interface) or frozenset()
        unit = self.host.read(_UNIT)
        if unit is None:
            going = found if services is None else found & services
        else:
            going = found - frozenset(_OWN.findall(unit.decode("utf-8", "replace")))
        if not going:
            return
        refusal = self.serve(interface, (), going)
        if left := (self.addresses(interface) or frozenset()) & going:
            raise CommandFailed(f"ip: {', '.join(sorted(left))}: still bound: {refusal}")

    def _configured(self) -> tuple[str, frozenset[str] | None]:
        """The interface, and the addresses of the services: None if they cannot be read."""
        try:
            document = json.loads(self.host.read(file_paths.CONFIG) or b"")
            found = [address for each in document["services"] for address in each["addresses"]]
            return str(document["interface"]), frozenset(map(str, found))
        except (OSError, ValueError, TypeError, LookupError):
            return INTERFACE, None

    # --- what is discarded -------------------------------------------------------------------

    def discarded(self) -> Discards:
        """The elements of the sets, each with its timeout."""
        done = self.host.run("nft", "-j", "list", "table", *TABLE.split())
        if done.code != 0:
            raise CommandFailed(done.why())
        entries = json.loads(done.out).get("nftables", [])
        held = [_held(one) for entry in entries for one in entry.get("set", {}).get("elem", [])]
        return Discards(
            {address: seconds for address, seconds in held if address is not None},
            counted(entries),
        )

    def discard(self, add: Mapping[str, int], remove: Collection[str]) -> str:
        """In one transaction. Adding an element again does not change its timeout."""
        lines = [_element("delete", address) for address in remove]
        lines += [_element("add", address, seconds) for address, seconds in add.items()]
        done = self.host.run("nft", "-f", "-", given="\n".join(lines) + "\n")
        return "" if done.code == 0 else done.why()


def by_tunnel(text: str) -> frozenset[str]:
    """The destinations of the host routes through a tunnel, from ``ip -json route show``."""
    found = (route for route in json.loads(text or "[]") if _is_by_tunnel(route))
    return frozenset(str(route["dst"]).split("/")[0] for route in found)


def _is_by_tunnel(route: dict[str, object]) -> bool:
    """Whether one of a route's next hops is a tunnel: only our host routes have one."""
    hops = route.get("nexthops")
    devices = [hop.get("dev") for hop in hops] if isinstance(hops, list) else [route.get("dev")]
    return any(str(device).startswith("wg-") for device in devices)


def _is_main(address: dict[str, Any]) -> bool:
    """Whether it is a global address that is neither temporary, deprecated nor tentative."""
    unfit = ("temporary", "deprecated", "tentative", "dadfailed", "secondary")
    return address.get("scope") == "global" and not any(address.get(flag) for flag in unfit)


def _line(verb: Literal["replace", "del"], address: str, interface: str) -> str:
    """A line for ``ip -batch``. An IPv6 address of a service is deprecated, so that it is not the
    source of what the node sends by itself (RFC 6724, rule 3)."""
    if ":" in address:
        flags = " nodad preferred_lft 0" if verb == "replace" else ""
        return f"address {verb} {address}/128 dev {interface}{flags}"
    return f"address {verb} {address}/32 dev {interface}"


def counted(entries: Iterable[dict[str, Any]]) -> int:
    """The packets that the rules of a table have counted, without named counters of others."""
    statements = (each for entry in entries for each in entry.get("rule", {}).get("expr", []))
    counters = (each.get("counter") for each in statements if isinstance(each, dict))
    return sum(int(each.get("packets", 0)) for each in counters if isinstance(each, dict))


def _held(element: object) -> tuple[str | None, int]:
    """An element as nft lists it, and the seconds left: with a timeout it is an object; without
    one, as added by hand, it is the bare value."""
    inner = element.get("elem") if isinstance(element, dict) else {"val": element}
    value = inner.get("val") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(value, str):
        return None, ENDLESS  # A range or a prefix is not ours.
    return value, int(inner.get("expires", ENDLESS))


def _element(verb: str, address: str, seconds: int | None = None) -> str:
    time_ = "" if seconds is None else f" timeout {seconds}s"
    name = SETS[6 if ":" in address else 4]
    return f"{verb} element {TABLE} {name} {{ {address}{time_} }}"
