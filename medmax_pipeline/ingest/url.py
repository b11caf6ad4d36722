"""Files from a publisher's own address: resumable, with a pinned digest, a limit and no way into this machine.

Bytes go to a hidden `.part` file that survives a kill; a later fetch asks for the rest. The file gets its name when its
digest is the pinned one. Only https is spoken, but to this machine itself plain http too, and no redirect leaves that
ground. Standard library; which files are wanted belongs to `fetch.py`.
"""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from medmax_pipeline.errors import FetchError
from medmax_pipeline.files import CHUNK_BYTES, decimal_size, inside, sha256_file, write_text
from medmax_pipeline.ingest.fetch import STAGING, URL, Log, Wanted, check_space, place
from medmax_pipeline.ingest.landing import is_pointer
from medmax_pipeline.ingest.pins import read_pin, today, write_pin
from medmax_pipeline.sources.record import ExpectedFile, Publisher

ATTEMPTS: Final = 5
"""Ours; an attempt that brought bytes does not count."""
LONGEST_WAIT_S: Final = 60.0
TIMEOUT_S: Final = 60.0
MOST_REDIRECTS: Final = 5
MOST_BYTES: Final = 500 * 10**9
"""Ours, where nobody published a size."""
ROUNDED: Final = 0.1
"""How far a published size may be rounded."""
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})


class Answer(NamedTuple):
    """The head of a response: where its bytes begin in the file, and how long the file is."""

    start: int
    total: int | None


class _Again(Exception):
    """The address is busy, failing or was cut off; asking again may help."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


def bring(
    record: Publisher,
    landing: Path,
    wanted: Wanted,
    log: Log,
    wait: Callable[[float], None] = lambda seconds: time.sleep(seconds),
) -> None:
    """Fetch what is wanted of a record's addresses into its landing folder.

    Args:
        record: the source or weights.
        landing: root of the landing folders.
        wanted: what is still to come; a group's first file with an address is taken.
        log: gets a line a file.
        wait: sleeps some seconds.

    Raises:
        FetchError: something did not arrive; files that did are in place.
        DiskFull: through the caller's `disk_errors`.
    """
    folder = landing / record.folder
    items, groups = [], set()
    for item in record.files:
        begun = item.path in wanted.begun
        if not begun and (item not in wanted.items or (item.group and item.group in groups)):
            continue
        groups.add(item.group)
        items.append(item)
    pin = read_pin(folder, URL)
    names = {item.path: item.bytes for item in items}
    write_pin(folder, URL, replace(pin, read=pin.read or today(), wanted={**pin.wanted, **names}))
    check_space(folder, [item.bytes for item in items])
    for number, item in enumerate(items, 1):
        size = decimal_size(item.bytes) if item.bytes is not None else "size not published"
        log(f"{record.key}: fetching {item.path}, {size} ({number} of {len(items)})")
        part = inside(folder / STAGING, f"{item.path}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        digest = fetch_file(item.url, part, item, wait)
        pin = read_pin(folder, URL)
        write_pin(folder, URL, replace(pin, digests={**pin.digests, item.path: digest}))
        place(part, folder, item.path)


def fetch_file(url: str, part: Path, item: ExpectedFile, wait: Callable[[float], None]) -> str:
    """Bring one address into `part`, taking up what lies there.

    Returns:
        sha256 of the whole file; the pinned one where the record pins it.

    Raises:
        FetchError: the address refused, or other bytes came. `part` stays only where more of it may come.
    """
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _read(url, part, item)
            break
        except _Again as again:
            after = part.stat().st_size if part.exists() else 0
            failures = 1 if after > before else failures + 1
            pause = again.pause if again.pause is not None else float(2 ** (failures - 1))
            if failures >= ATTEMPTS or pause > LONGEST_WAIT_S:
                raise FetchError(f"{_host(url)}: {again}.", "The next build takes up where this one ended.") from None
            wait(pause)
    return _checked(part, item, url)


def _checked(part: Path, item: ExpectedFile, url: str) -> str:
    size, digest = part.stat().st_size, sha256_file(part)
    fault = ""
    if is_pointer(part, size):
        fault = f"{item.path} came as a Git LFS pointer and not as data"
    elif item.sha256 and digest != item.sha256:
        fault = f"{item.path} came with sha256 {digest}; {item.sha256} is pinned"
    elif item.bytes is not None and not item.sha256 and abs(size - item.bytes) > item.bytes * ROUNDED:
        fault = f"{item.path} came with {size} bytes; {item.bytes} are published"
    if fault:
        _forget(part)
        raise FetchError(f"{_host(url)}: {fault}.", "Removed. The publisher may have changed the file.")
    _forget(part.with_name(part.name + ".tag"))
    return digest


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".tag").unlink(missing_ok=True)


def _read(url: str, part: Path, item: ExpectedFile) -> None:
    """One request: the rest of the file where some of it is there."""
    limit = int(item.bytes * (1 + ROUNDED)) if item.bytes is not None else MOST_BYTES
    have = part.stat().st_size if part.exists() else 0
    tag = part.with_name(part.name + ".tag")
    headers = {"User-Agent": "medmax_pipeline", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text()
    try:
        response = _opener(url).open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:  # what lies here is not the beginning of what is served now, or all of it
                if error.headers.get("Content-Range", "") == f"bytes */{have}":
                    return
                _forget(part)
                raise _Again("serves another file than before", 0.0) from None
            raise _refusal(error, url) from None
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        raise _Again("cannot be reached") from None
    with response:
        answer = _answer(response, have)
        if (answer.total or 0) > limit:
            raise _too_large(url, item, limit)
        strong = response.headers.get("ETag", "")
        if strong.startswith('"'):
            write_text(tag, strong)
        _write(response, part, answer, limit, item, url)


def _answer(response: Any, have: int) -> Answer:
    """Where the body starts; a server that ignores the range starts at 0."""
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else None
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
        if start != str(have) or not total.isdigit():
            raise _Again("answered with another part than was asked for", 0.0)
        return Answer(have, int(total))
    return Answer(0, size)


def _write(response: Any, part: Path, answer: Answer, limit: int, item: ExpectedFile, url: str) -> None:
    done = answer.start
    with part.open("r+b" if answer.start else "wb") as handle:
        handle.seek(answer.start)
        while True:
            try:
                piece = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException):
                raise _Again("was cut off") from None
            if not piece:
                break
            done += len(piece)
            if done > limit:
                handle.close()
                _forget(part)
                raise _too_large(url, item, limit)
            handle.write(piece)
    if answer.total is not None and done < answer.total:
        raise _Again("was cut off")


def _too_large(url: str, item: ExpectedFile, limit: int) -> FetchError:
    return FetchError(
        f"{_host(url)}: {item.path} is larger than the {decimal_size(limit)} that are expected.",
        "Not fetched. The publisher may have changed the file.",
    )


def _refusal(error: urllib.error.HTTPError, url: str) -> Exception:
    if error.code in RETRIED:
        told = error.headers.get("Retry-After", "")
        return _Again(f"answered {error.code}", float(told) if told.isdigit() else None)
    what = {401: "wants a login", 403: "refused", 404: "no longer has the file", 410: "no longer has the file"}
    return FetchError(f"{_host(url)}: {what.get(error.code, 'refused')} ({error.code}).", "See the publisher's page.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A bounded number of redirects, each to an address that may be spoken to."""

    max_redirections = MOST_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request after a redirect, refused where it leaves the ground on which the first one stood."""
        check_address(newurl, local=_is_local(req.full_url))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Speaks http and https only; no files, no ftp, whatever a redirect says."""
    check_address(url, local=_is_local(url))
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if _is_local(url) else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def check_address(url: str, *, local: bool) -> None:
    """Refuse what is not https to the outside, or http(s) to this machine where the first address was there.

    Raises:
        FetchError: another scheme, a private address, or a way from outside into this machine.
    """
    parts = urllib.parse.urlsplit(url)
    if local:
        allowed = parts.scheme in ("http", "https") and _is_local(url)
    else:
        allowed = parts.scheme == "https" and bool(parts.hostname) and not _is_private(parts.hostname or "")
    if not allowed:
        raise FetchError(
            f"{parts.scheme}://{parts.hostname or ''}: not an address that files are fetched from.",
            "Expected https to a public host. Report it to the publisher, or place the file by hand.",
        )


def _is_local(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def _is_private(host: str) -> bool:
    """Whether a host is, by its own spelling, not on the public internet."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url
