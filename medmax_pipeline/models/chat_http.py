"""One request to an OpenAI-compatible address, and what came of it; never more than one.

Nothing the server says is believed beyond its bytes: size, time and depth are bounded, redirects are refused, and no
text of it reaches a log. Asking again, keeping answers and paying for them is `endpoint.py`. Needs httpx2, imported
when something is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from medmax_pipeline.files import canonical
from medmax_pipeline.models.reply_json import NotJson, read_object

if TYPE_CHECKING:
    import httpx2

BYTES_A_TOKEN: Final = 64
BYTES_BESIDE: Final = 1 << 16
"""An answer is read up to so many bytes for each token it may have, and so many more. Ours: text has about four bytes a
token, six times as many where JSON spells every letter as a number."""
DETAIL: Final = 200
"""Characters of a server's complaint that are kept."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Answered(NamedTuple):
    """A whole answer, as JSON."""

    body: dict[str, Any]


class Again(NamedTuple):
    """Nothing usable came; asking again may help."""

    reason: str
    pause_s: float | None = None
    """What the server asks for."""
    billed: bool = False
    """Whether the server may have worked, and be paid, for it."""


class Stop(NamedTuple):
    """Asking again would give the same."""

    reason: str
    detail: str = ""
    for_all: bool = False
    """Whether every other request would fare alike."""
    billed: bool = False


class Address(NamedTuple):
    """Where requests go, and with which key."""

    url: str
    key: str = ""

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return urlsplit(self.url).hostname in LOOPBACK

    def __repr__(self) -> str:
        """Without the key, so that no log can have it."""
        return f"Address({self.url})"


@contextmanager
def connected(address: Address, at_once: int, timeout_s: float) -> Iterator[httpx2.Client]:
    """A client for many threads. Proxies of the environment are used for other machines only."""
    import httpx2

    headers = {"User-Agent": "medmax_pipeline", "Accept": "application/json", "Accept-Encoding": "identity"}
    if address.key:
        headers["Authorization"] = f"Bearer {address.key}"
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    with httpx2.Client(
        headers=headers, timeout=timeout_s, limits=limits, trust_env=not address.local, follow_redirects=False
    ) as client:
        yield client


def send(
    client: httpx2.Client, address: Address, payload: Mapping[str, Any], timeout_s: float
) -> Answered | Again | Stop:
    """Post one request.

    Args:
        client: of `connected`.
        address: everything before `/chat/completions`.
        payload: the request's JSON; its `max_tokens` bounds what is read.
        timeout_s: seconds for the whole answer, and for each silence in it.
    """
    import httpx2

    ends = time.monotonic() + timeout_s
    most = BYTES_BESIDE + BYTES_A_TOKEN * int(payload["max_tokens"])
    url = f"{address.url.rstrip('/')}/chat/completions"
    head = {"Content-Type": "application/json"}
    try:
        with client.stream("POST", url, content=canonical(payload), headers=head) as response:
            body = _read(response, ends, most)
            if not isinstance(body, bytes):
                return body
            return _outcome(response, body, address.key)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError):
        return Again("unreachable")
    except httpx2.TimeoutException:
        return Again("timed_out", billed=True)
    except httpx2.TransportError:
        return Again("cut_off", billed=True)


def _read(response: httpx2.Response, ends: float, most: int) -> bytes | Again | Stop:
    """The bytes of an answer, within its limits; they are asked for, and taken, uncompressed."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return Again("malformed", billed=True)
    pieces, size = [], 0
    for piece in response.iter_raw():
        size += len(piece)
        if size > most:
            return Stop("too_large", f"more than {most} bytes", billed=response.is_success)
        if time.monotonic() > ends:
            return Again("timed_out", billed=True)
        pieces.append(piece)
    return b"".join(pieces)


def _outcome(response: httpx2.Response, body: bytes, key: str) -> Answered | Again | Stop:
    status = response.status_code
    try:
        said = read_object(body.decode("utf-8"))
    except (UnicodeDecodeError, NotJson):
        said = {}
    if response.is_success:
        choices = said.get("choices")
        typed = "json" in response.headers.get("Content-Type", "").lower()
        if not typed or not isinstance(choices, list) or not choices:
            return Again("malformed", billed=True)
        return Answered(said)
    if response.is_redirect:
        target = urlsplit(response.headers.get("Location", "")).hostname or "elsewhere on the same host"
        return Stop("redirected", f"to {target}; name the address itself as the endpoint's url", for_all=True)
    if status == 401:
        return Stop("key_refused", "the address refuses the key (401)", for_all=True)
    if status == 404:
        return Stop("not_found", "no such address, or no such model there (404)", for_all=True)
    error = said.get("error")
    error = error if isinstance(error, dict) else {}
    if status == 429 and "insufficient_quota" in (error.get("code"), error.get("type")):
        return Stop("quota_spent", "the address says that the account's quota is spent", for_all=True)
    if status in (408, 409, 425, 429) or status >= 500:
        return Again(f"answered_{status}", _pause(response.headers.get("Retry-After", "")))
    return Stop("request_refused", f"{status} {_complaint(error, key)}".strip())


def _pause(told: str) -> float | None:
    """Seconds that a Retry-After asks for, given as seconds or as a date."""
    try:
        pause = float(told)
    except ValueError:
        try:
            pause = parsedate_to_datetime(told).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, pause) if pause == pause else None


def _complaint(error: Mapping[str, Any], key: str) -> str:
    """What a server says is wrong, short, on one line and without the key."""
    text = str(error.get("message", ""))
    if key:
        text = text.replace(key, "[key]")
    return "".join(mark if mark.isprintable() else " " for mark in text)[:DETAIL]
