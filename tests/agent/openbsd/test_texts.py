"""What OpenBSD's commands print, in the forms of its sources, and what the agent reads in it."""

from __future__ import annotations

import pytest

from mesh.agent.openbsd import texts

VIO0 = """\
vio0: flags=a48843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,AUTOCONF6,AUTOCONF4> mtu 1450
	lladdr 56:00:04:aa:bb:cc
	index 1 priority 0 llprio 3
	groups: egress
	media: Ethernet autoselect
	status: active
	inet6 fe80::5400:4ff:feaa:bbcc%vio0 prefixlen 64 scopeid 0x1
	inet 203.0.113.7 netmask 0xfffffe00 broadcast 203.0.113.255
	inet6 2001:db8:1::77 prefixlen 64 deprecated autoconf pltime 0 vltime 2591900
	inet6 2001:db8:1::78 prefixlen 64 autoconf temporary pltime 80000 vltime 170000
	inet6 2001:db8:1::7 prefixlen 64 autoconf pltime 604700 vltime 2591900
"""
LO1 = """\
lo1: flags=2008049<UP,LOOPBACK,RUNNING,MULTICAST,MPATH> mtu 32768
	index 7 priority 0 llprio 3
	groups: lo
	inet6 fe80::1%lo1 prefixlen 64 scopeid 0x7
	inet 10.10.10.4 netmask 0xffffffff
	inet6 fd00:10:10::4 prefixlen 128
"""
ROUTES = """\
Routing tables

Internet:
Destination        Gateway            Flags   Refs  Use   Mtu  Prio Iface
default            203.0.113.1        UGS        5     1234     -     8 vio0
10.10.10.2         10.10.10.4         UHS        0        0     -    56 wg2
10.10.10.4         10.10.10.4         UHl        0        0     -     1 wg2
192.30.120.0/23    127.0.0.1          UGBS       0        0 32768    56 lo0
192.30.120.100     10.10.10.4         UHS        0        0     -    56 wg3
203.0.113.1        fe:00:01:02:03:04  UHLch      1        9     -     3 vio0

Internet6:
Destination                        Gateway                        Flags   Refs Use   Mtu  Prio Iface
2620:71:4000::64                   fe80::4%wg3                    UHS        0    0     -    56 wg3
2620:71:4000::65/128               fe80::4%wg3                    US         0    0     -    56 wg3
fe80::4%wg3                        wg3                            UHl        0    0     -     1 wg3
fd00:10:10::2                      fd00:10:10::4                  UHS        0    0     -    56 wg2
"""


def test_the_main_addresses_are_lasting_ones() -> None:
    found = list(texts.addresses(VIO0))
    assert [one.address for one in found if one.is_main] == ["203.0.113.7", "2001:db8:1::7"]
    assert [one.address for one in found if one.is_link_local] == ["fe80::5400:4ff:feaa:bbcc"]
    assert [one.address for one in texts.addresses(LO1) if not one.is_link_local] == [
        "10.10.10.4", "fd00:10:10::4",
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "mtu"), [(VIO0, 1450), (LO1, 32768), ("", None)])
def test_the_mtu_stands_behind_the_flags(text: str, mtu: int | None) -> None:
    assert texts.mtu(text) == mtu


def test_host_routes_by_a_tunnel_that_are_not_its_own_addresses_count_as_reachable() -> None:
    assert set(texts.tunnel_routes(ROUTES)) == {
        "10.10.10.2", "192.30.120.100", "2620:71:4000::64", "2620:71:4000::65", "fd00:10:10::2",
    }  # fmt: skip


def test_the_default_route_names_gateway_and_interface() -> None:
    text = """\
   route to: default
destination: default
       mask: default
    gateway: fe80::fc00:4ff:feaa:bbcc%vio0
  interface: vio0
 if address: fe80::5400:4ff:feaa:bbcc%vio0
   priority: 56 ()
      flags: <UP,GATEWAY,DONE>
     use       mtu    expire
      12         0         0
"""
    found = texts.route(text)
    assert found["interface"] == "vio0"
    assert found["gateway"] == "fe80::fc00:4ff:feaa:bbcc%vio0"
    assert found["if address"] == "fe80::5400:4ff:feaa:bbcc%vio0"


def test_a_table_has_one_address_in_each_line() -> None:
    assert texts.table("   192.0.2.1\n   2001:db8::1\n  !192.0.2.9\n   10.0.0.0/8\n") == {
        "192.0.2.1", "2001:db8::1",
    }  # fmt: skip


def test_packets_are_those_of_the_rules_of_discarded_addresses() -> None:
    numbers = "  [ Evaluations: 9         Packets: {}         Bytes: 0           States: 0     ]\n"
    text = (
        "block drop in quick on ! lo inet from any to <mesh_discard4:3>\n"
        + numbers.format(7)
        + "block drop in quick on ! lo inet6 from any to <mesh_discard6:0>\n"
        + numbers.format(5)
        + "  [ Inserted: uid 0 pid 1 State Creations: 0     ]\n"
        + "pass out all flags S/SA\n"
        + numbers.format(100)
    )
    assert texts.dropped(text) == 12
