"""A list of VRPs over HTTP."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

import httpx

from mesh.rpki.errors import SourceError
from mesh.spec.problems import shown

SILENCE = 10.0
"""Seconds without a byte until a download is given up."""
REDIRECTS = 5
GZIP = "gzip"
GZIP_FORMAT = 16 + zlib.MAX_WBITS
STEP = 1 << 20
"""Bytes that are unpacked at once: a thousand compressed ones may become a million."""
CURE = "check that the address is right and its server is up"


def fetch(url: str, largest: int, deadline: float, silence: float = SILENCE) -> bytes:
    """The content of a URL: at most ``largest`` bytes after decompression, within ``deadline``
    seconds; raises SourceError."""
    end = time.monotonic() + deadline
    late = SourceError(
        f"it was not downloaded within {deadline:g} s",
        "try again, or download it and give the file",
    )
    fetched: Future[bytes] = Future()

    def fetching() -> None:
        try:
            body = io.BytesIO()
            for piece in _pieces(url, silence):
                if body.write(piece) and body.tell() > largest:
                    raise SourceError(
                        f"it is larger than {largest >> 20} MB", "give a list of VRPs"
                    )
                if time.monotonic() > end:
                    raise late
            fetched.set_result(body.getvalue())
        except BaseException as error:  # raised by fetched.result()
            fetched.set_exception(error)

    # The client limits the time between bytes only, so headers could take days.
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
        raise SourceError(f"no answer within {silence:g} s", CURE) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = shown(str(error) or type(error).__name__)
        raise SourceError(f"it cannot be fetched ({reason})", CURE) from None


@contextmanager
def _answer(client: httpx.Client, url: str) -> Iterator[httpx.Response]:
    """The answer after redirections. The client's own redirections read every body, of any size."""
    request = client.build_request("GET", url)
    for _ in range(REDIRECTS + 1):
        answer = client.send(request, stream=True)
        try:
            if answer.next_request is None:
                _check_status(answer)
                yield answer
                return
        finally:
            answer.close()
        onward = answer.next_request
        if request.url.scheme == "https" != onward.url.scheme:
            # The list decides what may be deployed: nobody on the path may change it.
            reason = f"it redirects to {shown(str(onward.url))}, which is not https"
            raise SourceError(reason, "give the https address of that server")
        request = onward
    raise SourceError(f"it redirects more than {REDIRECTS} times", CURE)


def _check_status(answer: httpx.Response) -> None:
    if not answer.is_success:
        status = shown(f"{answer.status_code} {answer.reason_phrase}")
        raise SourceError(f"the server answers {status}", CURE)


def _unpacked(answer: httpx.Response) -> Iterator[bytes]:
    """The body in small pieces. The client would unpack all encodings, one after the other, before
    the size can be checked."""
    named = answer.headers.get_list("Content-Encoding", split_commas=True)
    layers = [name for each in named if (name := each.strip().lower()) not in ("", "identity")]
    if not layers:
        yield from answer.iter_raw()
    elif layers == [GZIP]:
        yield from _unzipped(answer.iter_raw())
    else:
        raise SourceError(
            f"it is sent as {shown(', '.join(layers))}, which was not requested",
            "have the server send it uncompressed, or as gzip",
        )


def _unzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(GZIP_FORMAT)
    for piece in pieces:
        full = True
        while full:  # more output may be left in the piece or in zlib's buffer
            try:
                unpacked = unpacking.decompress(piece, STEP)
            except zlib.error as error:
                raise SourceError(f"its gzip is broken ({error})", CURE) from None
            yield unpacked
            piece, full = unpacking.unconsumed_tail, len(unpacked) == STEP
        if unpacking.unused_data:
            raise SourceError("there is data after the end of its gzip", CURE)
    if not unpacking.eof:
        raise SourceError("its gzip ends too early", CURE)
