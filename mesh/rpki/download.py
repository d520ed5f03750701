"""A list of VRPs from the Web."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

import httpx

from mesh.rpki.errors import Unread
from mesh.spec.problems import shown

SILENCE = 10.0
"""Seconds without a byte after which nobody is waited for."""
REDIRECTS = 5
GZIP = "gzip"
GZIP_FORMAT = 16 + zlib.MAX_WBITS
STEP = 1 << 20
"""Bytes that are unpacked at once; a thousand may become a million."""
CURE = "look whether the address is right and its server up"


def fetch(url: str, largest: int, deadline: float, silence: float = SILENCE) -> bytes:
    """What lies there, of at most ``largest`` bytes after decompression, within ``deadline``
    seconds; Unread where there is nothing to be had."""
    end = time.monotonic() + deadline
    late = Unread(
        f"it was not there within {deadline:g} s", "try again, or download it and name the file"
    )
    fetched: Future[bytes] = Future()

    def fetching() -> None:
        try:
            body = io.BytesIO()
            for piece in _pieces(url, silence):
                if body.write(piece) and body.tell() > largest:
                    raise Unread(f"it is larger than {largest >> 20} MB", "name a list of VRPs")
                if time.monotonic() > end:
                    raise late
            fetched.set_result(body.getvalue())
        except BaseException as error:  # it is raised where the result is asked for
            fetched.set_exception(error)

    # The client counts the seconds between bytes only, so that headers may take days.
    Thread(target=fetching, daemon=True).start()
    try:
        return fetched.result(deadline + 1)
    except TimeoutError:
        raise late from None


def _pieces(url: str, silence: float) -> Iterator[bytes]:
    try:
        with (
            httpx.Client(timeout=silence, headers={"Accept-Encoding": GZIP}) as client,
            _answer(client, url) as answer,
        ):
            yield from _unpacked(answer)
    except httpx.TimeoutException:
        raise Unread(f"no answer within {silence:g} s", CURE) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = shown(str(error) or type(error).__name__)
        raise Unread(f"it cannot be fetched ({reason})", CURE) from None


@contextmanager
def _answer(client: httpx.Client, url: str) -> Iterator[httpx.Response]:
    """Where an address leads. The client itself would read the body of every redirection, of
    whatever size."""
    request = client.build_request("GET", url)
    for _ in range(REDIRECTS + 1):
        answer = client.send(request, stream=True)
        try:
            if answer.next_request is None:
                _judge(answer)
                yield answer
                return
        finally:
            answer.close()
        onward = answer.next_request
        if request.url.scheme == "https" != onward.url.scheme:
            # What is read decides what may be deployed: nobody on the way may write it.
            reason = f"it leads to {shown(str(onward.url))}, which is not https"
            raise Unread(reason, "name that place's own https")
        request = onward
    raise Unread(f"it leads on and on, {REDIRECTS} times and more", CURE)


def _judge(answer: httpx.Response) -> None:
    if not answer.is_success:
        said = shown(f"{answer.status_code} {answer.reason_phrase}")
        raise Unread(f"the server says {said}", CURE)


def _unpacked(answer: httpx.Response) -> Iterator[bytes]:
    """The body in pieces that are small: the client itself would unpack whatever a server names,
    layer upon layer, before anybody may look at its size."""
    named = answer.headers.get_list("Content-Encoding", split_commas=True)
    layers = [name for each in named if (name := each.strip().lower()) not in ("", "identity")]
    if not layers:
        yield from answer.iter_raw()
    elif layers == [GZIP]:
        yield from _unzipped(answer.iter_raw())
    else:
        raise Unread(
            f"it is sent as {shown(', '.join(layers))}, which nobody asked for",
            "have the server send it as it is, or in one layer of gzip",
        )


def _unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(GZIP_FORMAT)
    for piece in pieces:
        full = True
        while full:  # as long as there is more in it, whether of the piece or of zlib's own
            try:
                unpacked = unpacking.decompress(piece, STEP)
            except zlib.error as error:
                raise Unread(f"its gzip is broken ({error})", CURE) from None
            yield unpacked
            piece, full = unpacking.unconsumed_tail, len(unpacked) == STEP
        if unpacking.unused_data:
            raise Unread("something stands behind the end of its gzip", CURE)
    if not unpacking.eof:
        raise Unread("its gzip ends too early", CURE)
