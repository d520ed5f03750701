"""A list of VRPs from the Web."""

from __future__ import annotations

import time

import httpx

from mesh.roa.unread import Unread

SILENCE = 10.0
"""Seconds without a byte after which nobody is waited for."""
DEADLINE = 120.0
"""Seconds for the whole list."""
REDIRECTS = 5
CURE = "look whether the address is right and its server up"


def fetch(url: str, largest: int, deadline: float = DEADLINE, silence: float = SILENCE) -> bytes:
    """What lies there, of at most ``largest`` bytes after decompression; Unread where there is
    nothing to be had."""
    end = time.monotonic() + deadline
    body = bytearray()
    try:
        with (
            httpx.Client(follow_redirects=True, max_redirects=REDIRECTS, timeout=silence) as client,
            client.stream("GET", url) as answer,
        ):
            _judge(answer)
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > largest:
                    raise Unread(f"it is larger than {largest >> 20} MB", "name a list of VRPs")
                if time.monotonic() > end:
                    raise Unread(
                        f"it was not there within {deadline:g} s ({len(body)} bytes came)",
                        "try again, or download it and name the file",
                    )
    except httpx.TimeoutException:
        raise Unread(f"no answer within {silence:g} s", CURE) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unread(f"it cannot be fetched ({error or type(error).__name__})", CURE) from None
    return bytes(body)


def _judge(answer: httpx.Response) -> None:
    hops = [*answer.history, answer]
    if hops[0].url.scheme == "https" and any(hop.url.scheme != "https" for hop in hops):
        # What is read decides what may be deployed: nobody on the way may write it.
        raise Unread(f"it leads to {answer.url}, which is not https", "name that place's own https")
    if not answer.is_success:
        raise Unread(f"the server says {answer.status_code} {answer.reason_phrase}", CURE)
