"""The lab's receiver of alerts: what is posted to it is kept, and read as alerts."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.lab import receivers
from mesh.lab.receiver import MOST, Server
from tests.kit.wait import PATIENCE

TOLD = {
    "version": "4",
    "status": "firing",
    "receiver": "noc",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "MeshBirdDown", "node": "lax-vultr-1"},
            "annotations": {},
            "startsAt": "2026-11-29T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }
    ],
}


@contextmanager
def serving(kept: Path) -> Iterator[str]:
    """A receiver at the loopback address; where it is."""
    with Server("127.0.0.1", 0, kept) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def post(url: str, body: bytes) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_what_alertmanager_posts_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "alerts.jsonl"
    with serving(kept) as url:
        assert post(f"{url}/noc", json.dumps(TOLD).encode()) == 200
    (delivery,) = receivers.read(kept)
    (alert,) = delivery.alerts
    assert delivery.receiver == "noc"
    assert (alert.name, alert.status) == ("MeshBirdDown", "firing")
    assert alert.of("node", "peer") == ("lax-vultr-1", "")


@pytest.mark.parametrize("body", [b"", b"{", b"x" * (MOST + 1)])
def test_what_is_no_json_or_too_long_is_refused(tmp_path: Path, body: bytes) -> None:
    with serving(tmp_path / "alerts.jsonl") as url:
        try:
            assert post(url, body) == 400
        except (urllib.error.URLError, ConnectionError):
            assert len(body) > MOST, "it hangs up before all of it is sent"
    assert not list(receivers.read(tmp_path / "alerts.jsonl"))


@pytest.mark.parametrize("body", ["[]", '"a"', "{}", '{"alerts": [{}]}', '{"alerts": 1}'])
def test_what_is_no_notification_is_left_out(tmp_path: Path, body: str) -> None:
    kept = tmp_path / "alerts.jsonl"
    with serving(kept) as url:
        assert post(url, body.encode()) == 200
        assert post(f"{url}/noc", json.dumps(TOLD).encode()) == 200
    assert [each.receiver for each in receivers.read(kept)] == ["noc"]
