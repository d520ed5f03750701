"""The client: what it asks, what it makes of answers, and that nobody learns the key."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from mesh.infra.providers.vultr.v2 import ApiError, Client, connect
from mesh.infra.providers.vultr.v2.client import is_private
from tests.kit.vultr_api import KEY, Fault, Knobs, Served, Vultr, html, limited, refused
from tests.kit.vultr_api.faults import Answer

ADDRESS = {"region": "lax", "ip_type": "v4", "label": "somebody's"}


def error_of(ask: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask()
    assert KEY not in f"{caught.value} {caught.value!r}"
    return caught.value


class TestLists:
    def test_a_list_is_all_of_its_pages(self, client: Client, vultr: Vultr) -> None:
        vultr.knobs = Knobs(page=2)
        for _ in range(5):
            client.send("POST", "/reserved-ips", ADDRESS)
        assert len(client.addresses()) == 5
        assert [call.what for call in vultr.calls if call.method == "GET"] == [
            "GET /reserved-ips"
        ] * 3

    @pytest.mark.parametrize(
        ("following", "reason"),
        [
            ("same", "has pages that go in a circle"),
            (None, "does not show whether there are more pages"),
        ],
        ids=["a circle", "no word of a next page"],
    )
    def test_one_that_does_not_end_is_an_error(
        self, client: Client, vultr: Vultr, following: str | None, reason: str
    ) -> None:
        links = {} if following is None else {"next": following}
        page = Answer(200, {"instances": [], "meta": {"total": 1, "links": links}})
        vultr.fail(Fault("GET", "/instances", page, times=9))
        error = error_of(client.instances)
        assert (error.kind, reason in str(error)) == ("answer", True)

    def test_one_with_ever_new_pages_is_an_error(
        self, client: Client, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.client.PAGES", 5)
        for number in range(9):
            links = {"next": f"page-{number}"}
            page = Answer(200, {"instances": [], "meta": {"total": 1, "links": links}})
            vultr.fail(Fault("GET", "/instances", page))
        assert "has pages without an end" in str(error_of(client.instances))

    def test_what_is_asked_stays_below_vultrs_rate(
        self, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.client.RATE", 20)
        vultr.knobs = Knobs(rate=30)
        with connect(KEY) as client:
            for _ in range(35):
                client.account()
        assert {call.status for call in vultr.calls} == {200}


def _account(**fields: object) -> Answer:
    return Answer(200, {"account": {"name": "A", "balance": -1.0, "pending_charges": 0} | fields})


ANSWERS: dict[str, tuple[Answer, str, tuple[str, ...]]] = {
    "401": (
        refused("Invalid API token.", 401), "key",
        ("vultr:apiKey = [secret]", "does not know this API key", "pulumi config set --secret"),
    ),
    "403 for this machine": (
        refused("Unauthorized IP address: 198.51.100.7", 403), "source",
        ("vultr:apiKey = [secret]", "from this machine's address 198.51.100.7",
         "access control"),
    ),
    "403 for this user": (
        refused("Not authorized: missing permission manage_users", 403), "source",
        ("vultr:apiKey = [secret]", "do GET /account", "manage_users"),
    ),
    "500 with a web page": (
        html(500), "unclear",
        ("GET /account = HTTP 500", 'a web page, "500"', "run `pulumi up` again"),
    ),
    "a redirection": (
        Answer(302, "", {"Location": "https://example.net/"}), "answer",
        ("HTTP 302", "a redirection, to which the API key is not sent"),
    ),
    "200 with a web page": (html(200), "answer", ("Vultr's answer to GET /account is not JSON",)),
    "another answer": (Answer(200, {"something": {}}), "answer", ("has no account",)),
    "a list in its place": (Answer(200, [1]), "answer", ("has no account",)),
    "a field lacks": (
        Answer(200, {"account": {"name": "A", "balance": -1}}), "answer",
        ("GET /account = pending_charges", "answer to GET /account lacks pending_charges"),
    ),
    "a field is not what it was": (
        _account(balance={"eur": 3}), "answer", ("has an invalid balance",),
    ),
    "too many requests, without an end": (
        limited(1), "rate", ("GET /account = HTTP 429", "too many requests", "wait a minute"),
    ),
    "what a terminal would obey": (
        refused("\x1b[2J ::error:: no\nreally", 400), "refused", ("error:: no really",),
    ),
    "an echo of the key": (refused(f"bad token {KEY}", 400), "refused", ("token [secret]",)),
}  # fmt: skip


class TestBadAnswers:
    @pytest.mark.parametrize("case", ANSWERS)
    def test_each_is_one_sentence(self, served: Served, vultr: Vultr, case: str) -> None:
        answer, kind, words = ANSWERS[case]
        vultr.fail(Fault("GET", "/account", answer, times=9))
        with connect(KEY, retry_seconds=0.5) as client:
            error = error_of(client.account)
        assert error.kind == kind
        assert not [word for word in words if word not in str(error)], str(error)
        assert str(error).isprintable()

    def test_fields_and_words_that_are_new_break_nothing(
        self, client: Client, vultr: Vultr
    ) -> None:
        vultr.fail(Fault("GET", "/account", _account(colour="blue", name=None)))
        assert client.account().name == ""

    @pytest.mark.parametrize("when", ["cut", "reset"])
    def test_a_connection_that_breaks_is_tried_again(
        self, client: Client, vultr: Vultr, when: str
    ) -> None:
        vultr.fail(Fault("GET", "/account", when=when))  # type: ignore[arg-type]  # of the two
        assert client.account()
        vultr.fail(Fault("GET", "/account", when=when, times=9))  # type: ignore[arg-type]
        error = error_of(client.account)
        assert (error.kind, "does not answer" in str(error)) == ("unclear", True)

    def test_an_api_out_of_reach_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with connect(KEY, "https://127.0.0.1:9/v2") as client:
            error = error_of(client.account)
        assert error.kind == "unreachable"

    def test_an_unknown_certificate_is_told(
        self, served: Served, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        with connect(KEY, served.url) as client:
            error = error_of(client.account)
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)

    def test_an_answer_that_grows_without_end_is_cut(
        self, client: Client, vultr: Vultr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mesh.infra.providers.vultr.v2.client.LARGEST", 10_000)
        vultr.fail(Fault("GET", "/account", _account(name="A" * 20_000)))
        assert "larger than" in str(error_of(client.account))

    def test_a_busy_api_is_waited_for_as_long_as_it_says(self, vultr: Vultr) -> None:
        said: list[str] = []
        vultr.fail(Fault("GET", "/account", limited(1)))
        begun = time.monotonic()
        with connect(KEY, progress=said.append) as client:
            assert client.account()
        assert time.monotonic() - begun > 0.9
        assert said == [
            "GET /account: Vultr answers that there are too many requests; asked again in 1 s"
        ]

    def test_a_post_is_sent_once(self, client: Client, vultr: Vultr) -> None:
        vultr.fail(Fault("POST", "/reserved-ips", when="after", times=9))
        error_of(lambda: client.send("POST", "/reserved-ips", ADDRESS))
        assert len(vultr.addresses) == 1


class TestKey:
    @pytest.mark.parametrize("key", ["", " \n"])
    def test_none_is_told_before_anything_is_sent(self, vultr: Vultr, key: str) -> None:
        error = error_of(lambda: connect(key))
        assert "vultr:apiKey = unset" in str(error)
        assert not vultr.calls

    def test_one_that_no_header_can_hold_is_not_shown(self) -> None:
        with pytest.raises(ApiError) as caught:
            connect("SECRET\nX: y")
        assert "SECRET" not in str(caught.value)

    def test_a_line_end_beside_it_does_no_harm(self) -> None:
        with connect(f"{KEY}\n") as client:
            assert client.account()

    @pytest.mark.parametrize(
        ("url", "private"),
        [
            ("https://api.vultr.com/v2", True),
            ("http://127.0.0.1:8080/v2", True),
            ("http://[::1]/v2", True),
            ("http://localhost/v2", True),
            ("http://api.vultr.com/v2", False),
            ("http://127.0.0.1.example.net/v2", False),
            ("https://user:pass@api.vultr.com/v2", False),
            ("ftp://127.0.0.1/v2", False),
            ("https://127.0.0.1:port/v2", False),
            ("//127.0.0.1/v2", False),
        ],
    )
    def test_goes_where_nobody_reads_along(self, url: str, private: bool) -> None:
        assert is_private(url) is private
        if not private:
            assert "VULTR_API_ENDPOINT = " in str(error_of(lambda: connect(KEY, url)))

    def test_is_in_no_log(
        self, client: Client, vultr: Vultr, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        vultr.fail(Fault("GET", "/account", html(500), times=9))
        error_of(client.account)
        assert "GET" in caplog.text
        assert KEY not in caplog.text
        assert KEY not in repr(client)
