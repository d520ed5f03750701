"""The corpus, live: every case said by an upstream to an edge of every BIRD, verdict and reason.

Rows 70 and those of RPKI, of what is announced, of blackholes and of the interior stand in tests
of their own.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mesh.bird.features import capabilities
from tests.kit.bgp.messages import CUSTOMER
from tests.kit.machine import BIRDS
from tests.kit.systems import RUNS
from tests.kit.wait import until
from tests.routing import oracle
from tests.routing.corpus import CASES, OWN, Case
from tests.routing.judged_corpus import FAMILIES, NODES, TAKEN, JudgedCorpus, judged
from tests.routing.trial import DEFAULT, FULL, NONE, PEERED, Trial, network, trial

pytestmark = pytest.mark.image


@pytest.fixture(scope="module", params=RUNS, ids=" ".join)
def corpus(request: pytest.FixtureRequest) -> Iterator[JudgedCorpus]:
    """Everything is said, in one session for each family and edge."""
    with judged(*request.param) as found:
        yield found


def named(case: Case) -> str:
    return f"{case.row}-IPv{case.family}-{case.what}-{case.route.prefix}".replace(" ", "_")


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_case_gets_its_verdict_for_its_reason(corpus: JudgedCorpus, case: Case) -> None:
    assert corpus.verdict(case.at, case) == case.expected
    found = corpus.verdicts[case.at, case.family].get(case.route.prefix)
    for name, value in case.has.items():
        assert found is not None and found.held is not None
        assert found.held.attributes.get(name, "") == value


def test_where_a_default_route_is_asked_for_nothing_else_is_taken(corpus: JudgedCorpus) -> None:
    for case in CASES:
        if case.at == FULL:
            assert corpus.verdict(DEFAULT, case) == str(case.by_default or TAKEN), case


def test_where_nothing_is_asked_for_nothing_is_taken(corpus: JudgedCorpus) -> None:
    each = corpus.trials[NONE]
    for family in FAMILIES:
        assert corpus.verdicts[NONE, family] == {}
        assert each.control.count(f"internet{family}") == 1, "our aggregate"
    assert "rejected" not in each.log()


def test_every_refusal_is_counted_by_its_reason(corpus: JudgedCorpus) -> None:
    """As an operator counts on the node: `birdc show route filtered where refused_for(...)`."""
    for name in NODES:
        each = corpus.trials[name]
        for family in FAMILIES:
            cases = [case for case in CASES if (case.at, case.family) == (name, family)]
            verdicts = Counter(case.expected for case in cases)
            table = f"internet{family}"
            counted = {
                reason: each.control.count(table, "filtered", f"where refused_for({reason})")
                for reason in each.reasons().values()
            }
            assert counted == {reason: verdicts[reason] for reason in counted}


LINE = re.compile(
    r"rejected: (?P<because>[^,]+), net (?P<net>\S+), session (?P<session>\S+), "
    r"origin AS(?P<origin>\d+), (?:\(path (?P<path>[^)]*))?"
)


def test_every_refusal_is_logged_with_what_an_operator_asks_for(corpus: JudgedCorpus) -> None:
    """Where BIRD can say so without waiting for anybody."""
    if not capabilities(corpus.version).can("log_udp"):
        assert not any("rejected" in corpus.trials[name].log() for name in NODES)
        return
    for name in NODES:
        each = corpus.trials[name]
        lines = {found["net"]: found for found in LINE.finditer(each.log())}
        for case in CASES:
            if case.at != name or case.expected not in each.reasons().values():
                continue
            line = lines[case.route.prefix]
            assert line["session"] == each.protocol(case.family)
            path = case.route.path or ()
            text = " ".join(
                "{" + " ".join(map(str, sorted(part))) + "}" if isinstance(part, frozenset)
                else str(part) for part in path
            )  # fmt: skip
            # A line has room for some hundred ASNs; a longer path may be left out.
            assert text.startswith((line["path"] or "").strip()[:600])
            last = path[-1] if path and isinstance(path[-1], int) else 0
            assert int(line["origin"]) == last


def test_what_is_taken_goes_nowhere(corpus: JudgedCorpus) -> None:
    """Rows 76 and 91: not into the other tables, not into the kernel, and to no neighbor."""
    for each in corpus.trials.values():
        assert_nothing_left(each)


def assert_nothing_left(each: Trial) -> None:
    """Whatever an upstream has said, only our aggregates are where routes act."""
    for family in FAMILIES:
        held = {(route.prefix, route.session) for route in each.control.routes(f"master{family}")}
        assert held == {(OWN[family], f"discard{family}")}
        assert set(kernel(each, family)) <= {OWN[family]}
        heard = each.speaker(family).log.updates()
        announced = {route.prefix for update in heard for route in update.announced}
        assert announced == {OWN[family]}


def kernel(each: Trial, family: int) -> list[str]:
    """The prefixes that BIRD has put into any of the kernel's tables."""
    command = ["ip", "-j", f"-{family}", "route", "show", "table", "all", "proto", "bird"]
    enter = ["nsenter", f"--net=/proc/{each.edge.pid}/ns/net"]
    done = subprocess.run([*enter, *command], capture_output=True, text=True, check=True)
    return [route["dst"] for route in json.loads(done.stdout or "[]")]


@pytest.mark.parametrize("version", BIRDS)
def test_who_says_to_be_our_customer_is_sent_away(version: str) -> None:
    """Row 71: no stack file can name a customer, from whom OTC would be a leak (RFC 9234, 4.2)."""
    with trial(version, PEERED) as each:
        speaker = each.stranger(4, role=CUSTOMER)

        def refused() -> bool:
            ends = len(speaker.log.ends())
            with suppress(OSError):  # BIRD answers us before it listens for others
                each.call(speaker, 4)
                speaker.log.wait(lambda log: len(log.ends()) > ends, 5, "an answer")
            return bool(speaker.log.notifications())

        try:
            until(refused, 10, "a NOTIFICATION (a call soon after another is closed unheard)")
            why = speaker.log.notifications()[0]
            assert (why.code, why.subcode) == (2, 11), "role mismatch"
            assert not speaker.established.is_set()
        finally:
            speaker.close()


@pytest.mark.parametrize("version", BIRDS)
def test_with_validators_the_other_rules_say_the_same(version: str) -> None:
    """With them BIRD keeps what came in, to judge it again; no record has come yet."""
    with trial(
        version, FULL, network() | {"rpki": {"servers": ["rtr://198.51.100.1:323"]}}
    ) as each:
        names = each.reasons()
        for family in FAMILIES:
            cases = [case for case in CASES if (case.at, case.family) == (FULL, family)]
            each.say(family, [case.route for case in cases])
            verdicts = each.verdicts(family)
            for case in cases:
                found, expected = verdicts.get(case.route.prefix), case.expected
                if found is None:
                    assert expected.startswith("BIRD: "), case
                else:
                    assert [names[n] for n in found.reasons] == [expected] * (not found.taken)
                    assert found.taken == (expected == TAKEN)
            each.take_back(family, [case.route.prefix for case in cases])
            assert not each.verdicts(family)


def test_the_oracle_and_the_corpus_agree(corpus: JudgedCorpus) -> None:
    for case in CASES:
        reasons = oracle.reasons(case.route, corpus.trials[case.at].session(case.family))
        if case.refused is None:
            assert not reasons, case
        elif case.refused.by:
            assert case.refused.by in reasons, case
        elif "bogus" in case.refused.words:
            assert "BOGON_PREFIX" in reasons, case
