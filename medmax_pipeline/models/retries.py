"""One request until it is answered or given up: pace, pauses, tries and money, shared by all threads of one endpoint.

What one try is, and which outcomes may be tried again, is `chat_http.py`; keeping answers is `endpoint.py`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final

from medmax_pipeline.config import Endpoint
from medmax_pipeline.models.chat_http import Address, Again, Answered, Stop, send
from medmax_pipeline.models.costs import price
from medmax_pipeline.models.spending import Purse

if TYPE_CHECKING:
    import httpx2

BUDGET_SPENT: Final = "budget_spent"
ABANDONED: Final = "abandoned"
LONGEST_WAIT_S: Final = 120.0
"""A server that asks for a longer pause is left alone; ours."""
GIVES_UP_AFTER: Final = 8
"""Requests in a row that failed at every try, after which no other is sent; ours."""
GIVEN_UP: Final = "given_up"


class Sender:
    """Sends requests of one endpoint from many threads."""

    def __init__(
        self, endpoint: Endpoint, address: Address, purse: Purse | None, log: Callable[[str], None], backoff_s: float
    ) -> None:
        self.tries = 0
        """Requests that were sent, those that failed included."""
        self._endpoint, self._address, self._purse = endpoint, address, purse
        self._log, self._backoff_s = log, backoff_s
        self._lock = Lock()
        self._next = 0.0
        self._failures = 0
        self._stop: Stop | None = None
        self._told: set[str] = set()

    def fetch(
        self, client: httpx2.Client, payload: Mapping[str, Any], name: str, bound_usd: float, leave: Event
    ) -> Answered | Stop:
        """Send until there is an answer, at most `retries` times more.

        Args:
            client: of `chat_http.connected`.
            payload: the request's JSON.
            name: of the request; seeds the jitter of its pauses.
            bound_usd: what one try can cost at most; set aside before each.
            leave: set when nobody waits for the answer any more.
        """
        pauses = random.Random(name)
        last: Again = Again("unreachable")
        for number in range(self._endpoint.retries + 1):
            stop = self._turn(leave)
            if stop is not None:
                return stop
            if self._purse is not None and not self._purse.reserve(bound_usd):
                return Stop(BUDGET_SPENT, f"the next request could pass budget_usd = {self._endpoint.budget_usd}")
            said = self._send(client, payload, bound_usd)
            if isinstance(said, Answered):
                with self._lock:
                    self._failures = 0
                return said
            if isinstance(said, Stop):
                return self._stopped(said)
            last = said
            pause = self._backoff_s * 2**number * (0.5 + pauses.random() / 2)
            if not self._paused(said, pause, last_try=number == self._endpoint.retries, leave=leave):
                break
        return self._failed(last)

    def _send(self, client: httpx2.Client, payload: Mapping[str, Any], bound_usd: float) -> Answered | Again | Stop:
        """One try, and what it cost."""
        with self._lock:
            self.tries += 1
        said = send(client, self._address, payload, self._endpoint.timeout_s)
        if self._purse is not None:
            paid = bound_usd if isinstance(said, Answered) or said.billed else 0.0
            if isinstance(said, Answered):
                tokens = usage(said.body)
                paid = price(self._endpoint, *tokens) or 0.0 if tokens is not None else bound_usd
            self._purse.settle(bound_usd, paid)
        return said

    def _turn(self, leave: Event) -> Stop | None:
        """Wait for this thread's turn under the rate limit and all pauses; a Stop where there will be none."""
        while True:
            with self._lock:
                if self._stop is not None:
                    return self._stop
                now = time.monotonic()
                wait = self._next - now
                if wait <= 0:
                    if self._endpoint.requests_per_minute:
                        self._next = now + 60 / self._endpoint.requests_per_minute
                    break
            leave.wait(wait)
            if leave.is_set():
                break
        return Stop(ABANDONED) if leave.is_set() else None

    def _paused(self, said: Again, pause: float, *, last_try: bool, leave: Event) -> bool:
        """Whether the request shall be sent again; when this returns, its pause is over."""
        self._tell(said.reason)
        if said.pause_s is not None:
            if said.pause_s > LONGEST_WAIT_S:
                return False
            with self._lock:  # what a server asks for holds for all
                self._next = max(self._next, time.monotonic() + said.pause_s)
            pause = 0.0
        if last_try:
            return False
        leave.wait(pause)
        return True

    def _stopped(self, stop: Stop) -> Stop:
        if stop.for_all:
            with self._lock:
                self._stop = self._stop or stop
            self._tell(f"{stop.reason} ({stop.detail}); nothing more is sent")
        return stop

    def _failed(self, last: Again) -> Stop:
        with self._lock:
            self._failures += 1
            gives_up = self._failures >= GIVES_UP_AFTER and self._stop is None
            if gives_up:
                self._stop = Stop(GIVEN_UP, f"{self._failures} requests in a row failed, the last one: {last.reason}")
        if gives_up:
            self._tell(f"{self._failures} requests in a row failed at every try; nothing more is sent")
        return Stop(last.reason, f"at each of {self._endpoint.retries + 1} tries or with a pause too long")

    def _tell(self, what: str) -> None:
        """Log each thing once, not once a request."""
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        self._log(f"{self._endpoint.model}: {what}")


def usage(body: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens in and out as an answer counts them; None where it does not, or not in whole numbers."""
    told = body.get("usage")
    if not isinstance(told, dict):
        return None
    counts = told.get("prompt_tokens"), told.get("completion_tokens")
    if all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10**9 for count in counts):
        return counts  # type: ignore[return-value]
    return None
