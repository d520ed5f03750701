"""Origin validation: a table of RFC 6811's cases, and any case against a naive reading of it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plan import Network
from mesh.rpki import Reason, State, Vrp, validate
from mesh.rpki.selection import Selection
from tests.rpki.vrps import vrps

OURS = 27218


@pytest.mark.parametrize(
    ("known", "state", "reason"),
    [
        ([], State.NOT_FOUND, Reason.NO_ROA),
        (["192.30.120.0/23 27218"], State.VALID, Reason.AUTHORISED),
        (["192.30.0.0/16-23 27218"], State.VALID, Reason.AUTHORISED),
        (["192.30.120.0/23-32 27218"], State.VALID, Reason.AUTHORISED),
        (["192.30.120.0/23 64496", "192.30.120.0/23 27218"], State.VALID, Reason.AUTHORISED),
        (["192.30.120.0/23 0", "192.30.120.0/23 27218"], State.VALID, Reason.AUTHORISED),
        (["192.30.120.0/23 64496"], State.INVALID, Reason.WRONG_ORIGIN),
        (["192.30.0.0/16 64496"], State.INVALID, Reason.WRONG_ORIGIN),
        (["192.30.120.0/23 0", "192.30.0.0/16 64496"], State.INVALID, Reason.WRONG_ORIGIN),
        (["192.30.120.0/22 27218"], State.INVALID, Reason.TOO_LONG),
        (["192.30.120.0/22 27218", "192.30.120.0/23 64496"], State.INVALID, Reason.TOO_LONG),
        (["192.30.120.0/23 0"], State.INVALID, Reason.NOBODY),
        (["0.0.0.0/0-32 0"], State.INVALID, Reason.NOBODY),
        (["192.30.120.0/24 27218", "192.30.121.0/24 27218"], State.NOT_FOUND, Reason.NO_ROA),
        (["192.30.122.0/23 27218"], State.NOT_FOUND, Reason.NO_ROA),
        (["::/0-128 27218", "c01e:7800::/23 27218"], State.NOT_FOUND, Reason.NO_ROA),
    ],
)
def test_an_aggregate_is_judged(known: list[str], state: State, reason: Reason) -> None:
    verdict = validate(ip_network("192.30.120.0/23"), OURS, vrps(*known))
    assert (verdict.state, verdict.reason) == (state, reason)


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (["2620:71:4000::/48 27218"], State.VALID),
        (["2620:71::/32-48 27218"], State.VALID),
        (["2620:71::/32 27218"], State.INVALID),
        (["0.0.0.0/0-32 27218"], State.NOT_FOUND),
    ],
)
def test_ipv6_is_judged_by_ipv6(known: list[str], state: State) -> None:
    assert validate(ip_network("2620:71:4000::/48"), OURS, vrps(*known)).state is state


def test_a_route_with_the_origin_as0_is_never_valid() -> None:
    verdict = validate(ip_network("192.0.2.0/24"), 0, vrps("192.0.2.0/24 0"))
    assert verdict.state is State.INVALID


def test_what_speaks_for_the_reason_stands_first() -> None:
    known = vrps("192.30.0.0/16 64496", "192.30.120.0/22 27218", "192.30.120.0/23 0")
    verdict = validate(ip_network("192.30.120.0/23"), OURS, known)
    assert [each.asn for each in verdict.covering] == [27218, 64496, 0]


def network(bits: str, version: int) -> Network:
    """The prefix of these leading bits."""
    if version == 4:
        return IPv4Network((int(bits.ljust(32, "0"), 2), len(bits)))
    return IPv6Network((int(bits.ljust(128, "0"), 2), len(bits)))


# Few bits, ASNs and lengths, so that prefixes meet: most draws would be strangers otherwise.
BITS = st.text("01", max_size=5)
ASNS = st.sampled_from([0, 1, 2, 4294967295])
VERSIONS = st.sampled_from([4, 6])


@st.composite
def drawn(draw: st.DrawFn) -> tuple[int, str, int, int]:
    """A VRP as version, leading bits, maxLength and ASN."""
    version, bits = draw(VERSIONS), draw(BITS)
    longest = draw(st.integers(len(bits), 7) | st.just(32))
    return version, bits, longest, draw(ASNS)


def naive(version: int, bits: str, origin: int, known: list[tuple[int, str, int, int]]) -> State:
    """RFC 6811, section 2, word by word, over strings of bits."""
    covering = [each for each in known if each[0] == version and bits.startswith(each[1])]
    if any(len(bits) <= longest and origin == asn != 0 for _, _, longest, asn in covering):
        return State.VALID
    return State.INVALID if covering else State.NOT_FOUND


@given(version=VERSIONS, bits=BITS, origin=ASNS, known=st.lists(drawn(), max_size=6))
def test_every_verdict_is_that_of_the_rfc(
    version: int, bits: str, origin: int, known: list[tuple[int, str, int, int]]
) -> None:
    prefix = network(bits, version)
    everything = [Vrp(network(own, v), longest, asn) for v, own, longest, asn in known]
    assert validate(prefix, origin, everything).state is naive(version, bits, origin, known)


@given(version=VERSIONS, bits=BITS, origin=ASNS, known=st.lists(drawn(), max_size=8))
def test_what_a_selection_forgets_changes_no_verdict(
    version: int, bits: str, origin: int, known: list[tuple[int, str, int, int]]
) -> None:
    prefix = network(bits, version)
    selection = Selection([prefix], now=0)
    for v, own, longest, asn in known:
        if v == 4:
            selection.take(4, int(own.ljust(32, "0"), 2), len(own), longest, asn)
        else:
            selection.take(6, int(own.ljust(128, "0"), 2), len(own), longest, asn)
    assert selection.seen == len(known)
    assert validate(prefix, origin, selection.kept).state is naive(version, bits, origin, known)
    assert all(
        each.prefix.version == version and each.prefix.overlaps(prefix) for each in selection.kept
    )
