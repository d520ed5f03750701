"""ftp(1), apart from other commands: its modules take most of a command's time to import."""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.kit.openbsd.kernel import STATE, failed, path


def main(arguments: list[str]) -> int:
    """ftp(1) as it fetches. Where a test has the servers is in ``fetch.json`` of the state."""
    rest, target, urls, checks = list(arguments), "", list[str](), True
    while rest:
        word = rest.pop(0)
        if word in ("-o", "-S", "-w", "-N", "-s", "-T", "-U", "-c", "-P"):
            if not rest:
                failed("usage: ftp [-46AVadegimnptv] ... url ...")
            value = rest.pop(0)
            target = value if word == "-o" else target
            checks = checks and not (word == "-S" and value == "dont")
        elif word.startswith("-"):
            if set(word[1:]) - set("46AVadegimnptvMCu"):
                failed(f"ftp: unknown option -- {word[1:]}")
        else:
            urls.append(word)
    for url in urls:
        _fetched(url, target or url.rpartition("/")[2], checks)
    return 0


def _fetched(url: str, target: str, checks: bool) -> None:
    table = Path(os.environ[STATE]) / "fetch.json"
    places: dict[str, str] = json.loads(table.read_text()) if table.exists() else {}
    real = next((new + url[len(old) :] for old, new in places.items() if url.startswith(old)), url)
    context = ssl.create_default_context()
    if not checks:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(real, context=context, timeout=60) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        failed(f"ftp: Error retrieving {url}: {error.code} {error.reason}")
    except (urllib.error.URLError, OSError) as error:
        failed(f"ftp: connect: {getattr(error, 'reason', error)}")
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        path(target).write_bytes(content)
