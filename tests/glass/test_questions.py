"""Questions as they are parsed, from values that mean something and from drawn text."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.glass import questions
from mesh.glass.questions import RouteQuestion, Unanswerable
from tests.glass.networks import network_of
from tests.kit.stacks import plan_of, prod

NETWORK = network_of(plan_of(prod()))
WRITTEN = re.compile(r"[0-9a-f.:]+(/\d+)?")
KNOWN = ("for", "node", "table", "more")


def asked(query: str) -> RouteQuestion | None:
    return questions.route(questions.parameters(query, KNOWN), NETWORK)


@pytest.mark.parametrize(
    ("query", "question"),
    [
        ("", None),
        ("for=&node=", None),
        ("for=8.8.8.8", RouteQuestion(target=ip_address("8.8.8.8"))),
        ("for=8.8.8.0%2F24", RouteQuestion(target=ip_network("8.8.8.0/24"))),
        ("for=2001:DB8::0001", RouteQuestion(target=ip_address("2001:db8::1"))),
        ("for=::/0&more=1", RouteQuestion(target=ip_network("::/0"), more=True)),
        ("for=1.1.1.1&node=mia-vultr-1&table=internet4",
         RouteQuestion(target=ip_address("1.1.1.1"), node="mia-vultr-1", table="internet4")),
        ("for=1.1.1.1&table=replies4_2",
         RouteQuestion(target=ip_address("1.1.1.1"), table="replies4_2")),
    ],
)  # fmt: skip
def test_a_query_is_a_question(query: str, question: RouteQuestion | None) -> None:
    assert asked(query) == question
    if question is not None:
        assert asked(questions.query(question.asked)) == question


def answered(parse: Any, *values: Any) -> Any:
    """What is parsed; None for a mistake, which is fit to be shown."""
    try:
        return parse(*values)
    except Unanswerable as error:
        shown = error.mistake
        assert 400 <= error.status < 500
        assert all(text.isprintable() for text in (shown.key, shown.value, shown.reason))
        assert len(shown.value) <= 80 and len(shown.key) <= 80
        return None


TEXT = st.text(max_size=80) | st.from_regex(r"[0-9a-f.:/%\n ;\"]{0,40}", fullmatch=True)


@given(TEXT)
def test_whatever_is_looked_up_is_written_as_an_address(text: str) -> None:
    found = answered(questions.target, text)
    assert found is None or WRITTEN.fullmatch(str(found))


@given(TEXT | st.from_regex(r"(master|internet|x)[456]?(_\d{0,9})?\n?", fullmatch=True))
def test_whatever_names_a_table_is_one_word(text: str) -> None:
    found = answered(questions.table, text, ip_address("1.1.1.1"))
    assert found is None or re.fullmatch(r"[a-z]*4?(_\d{1,6})?", found)


@given(st.text(max_size=200))
def test_whatever_is_a_query_has_known_keys_alone(text: str) -> None:
    found = answered(questions.parameters, text, KNOWN)
    assert found is None or set(found) <= set(KNOWN)


@given(TEXT, TEXT, TEXT)
def test_whatever_is_asked_of_refused_routes_is_of_the_plan(
    node: str, session: str, reason: str
) -> None:
    given = {"node": node, "session": session, "reason": reason}
    found = answered(questions.refused, given, NETWORK)
    assert found is None or found.node in (*NETWORK.by_id, questions.ALL)
