"""Language models that answer messages: behind any OpenAI-compatible address, or the embedded build's named rules.

    chat = open_chat(endpoint, cache, log)        # or a Lock, where the endpoint cannot be used here
    for place, said in chat.ask(requests): ...    # Reply or Refused, as they come

Every request comes back exactly once. Answers are kept on disk by what was asked before anybody reads them, so that a
replay needs no network and an answer is paid once; what is sent again after a cut or a silence, and what was under way
when the process was killed, can have cost something all the same. Credentialed text stays here unless the build says
`may_see_credentialed`: it is refused before anything is written or sent.

One request over the wire is `chat_http.py`, sending it again `retries.py`, money `spending.py`. What is asked, and what
a reply means, belongs to the steps: a judge, an author, a filter of captions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal, NamedTuple

from medmax_pipeline.config import Endpoint
from medmax_pipeline.errors import ConfigError, EndpointError
from medmax_pipeline.files import Json, digest_of
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.admission import check_endpoint, endpoint_lock, identity, read_key
from medmax_pipeline.models.chat_http import Address, Answered, connected
from medmax_pipeline.models.costs import Account, Cost, price
from medmax_pipeline.models.replies_cache import RepliesCache
from medmax_pipeline.models.retries import Sender, usage
from medmax_pipeline.models.spending import Purse

Log = Callable[[str], None]

CREDENTIALED: Final = "credentialed_not_admitted"
BYTES_A_TOKEN: Final = 3
"""For estimates: English text has about four bytes a token with the usual vocabularies, terms and numbers fewer."""
TOKENS_A_MESSAGE: Final = 8
"""Role and marks around a message; ours, above what published chat templates take."""


class Message(NamedTuple):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked at once."""

    messages: tuple[Message, ...]
    credentialed: bool
    """Whether anything in the messages comes from a credentialed source."""
    attempt: int = 0
    """A step that asks again, because it could not use the reply, raises it: another answer is then fetched, with
    another seed."""


class Reply(NamedTuple):
    """What the model said."""

    text: str
    tokens_in: int | None
    """As the server counted; None where it did not."""
    tokens_out: int | None
    cached: bool
    """Whether it lay on disk, so that nothing was sent or paid."""
    complete: bool = True
    """False: cut off at `max_tokens`."""
    model: str = ""
    """The model that says it answered; not always the one asked for."""


class Refused(NamedTuple):
    """Why there is no reply. Nothing is ever made up in its place."""

    reason: str
    """By name: `credentialed_not_admitted`; `budget_spent`; `key_refused`, `not_found`, `redirected`, `quota_spent`,
    `given_up` (for all that follows, too); `request_refused`, `too_large`; after the last try `unreachable`,
    `timed_out`, `cut_off`, `malformed`, `answered_<status>`; the model's own `model_refused` and `no_text`."""
    detail: str = ""


OUT_OF_ORDER: Final = ("key_refused", "not_found", "redirected", "quota_spent", "given_up", "budget_spent")
"""Refusals that say nothing of the request: the endpoint would answer no other either until somebody mends it."""
UNANSWERED: Final = ("unreachable", "timed_out", "cut_off", "malformed", "answered_")
"""Beginnings of refusals that a request got after its last try; where nothing at all was answered, as above."""


class Chat:
    """An endpoint that can be asked; made by `open_chat`."""

    name: str
    """The pinned model, or the name of the rules."""
    identity: dict[str, Json]
    """All that a reply depends on but the messages."""

    def __init__(
        self, endpoint: Endpoint, cache: Path, log: Log, *, key: str = "", rules: Rules | None = None, backoff_s: float
    ) -> None:
        self.name = endpoint.model
        self.identity = identity(endpoint, rules.version if rules else "")
        self.account = Account()
        self._endpoint, self._log, self._rules = endpoint, log, rules
        self._address = Address(endpoint.url, key)
        self._cache = RepliesCache(cache)
        purse = None
        if endpoint.budget_usd is not None:
            who = digest_of([endpoint.url, endpoint.model])[:16]
            purse = Purse(cache / f"spent-{who}.json", endpoint.budget_usd)
        self._sender = Sender(endpoint, self._address, purse, log, backoff_s)
        self._announced = False

    @property
    def tries(self) -> int:
        """Requests sent over the wire, those that failed included."""
        return self._sender.tries

    def estimate(self, requests: Iterable[Request]) -> Cost:
        """What `requests` would cost now; those that may not be asked are left out."""
        total = cached = tokens_in = 0
        seen: set[int] = set()
        for request in requests:
            key = self._cache.key(self._asked(request))
            short = int(key[:16], 16)
            if not self._admits(request) or short in seen:
                continue
            seen.add(short)
            total += 1
            if self._rules is None and self._cache.has(key):
                cached += 1
            else:
                tokens_in += math.ceil(_bytes(request) / BYTES_A_TOKEN) + TOKENS_A_MESSAGE * len(request.messages)
        tokens_out = (total - cached) * self._endpoint.max_tokens
        return Cost(total, cached, tokens_in, tokens_out, price(self._endpoint, tokens_in, tokens_out))

    def announce(self, requests: Iterable[Request]) -> Cost:
        """Log what `requests` would cost; the first `ask` does it for its own where nobody did before."""
        cost = self.estimate(requests)
        self._announced = True
        self._log(f"{self.name}: {cost}" if self._rules is None else f"{self.name}: rules, nothing is sent or paid")
        return cost

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply | Refused]]:
        """Ask all of them, several at once.

        Returns:
            the place of a request in `requests` and what came of it, in the order in which answers come; each place
            exactly once. Equal requests are sent once. Who stops reading pays for no more than what is under way.

        Raises:
            DiskFull: an answer could not be kept.
        """
        if not self._announced:
            self.announce(requests)
        places: dict[Request, list[int]] = {}
        for place, request in enumerate(requests):
            if self._admits(request):
                places.setdefault(replace(request, credentialed=False), []).append(place)  # equal words, one question
            else:
                self.account.refused[CREDENTIALED] += 1
                yield place, Refused(CREDENTIALED, f"{self.name} may not see rows of credentialed sources")
        absent: list[Request] = []
        for request in places:
            known = self._known(request)
            if known is None:
                absent.append(request)
            else:
                yield from self._told(places[request], known)
        if absent:
            for request, said in self._sent(absent):
                yield from self._told(places[request], said)
            self._log(f"{self.name}: so far " + ", ".join(f"{name} {told}" for name, told in self.summary().items()))

    def _known(self, request: Request) -> Reply | Refused | None:
        """What is known without a network: the rules' reply, or the answer on disk."""
        if self._rules is not None:
            return Reply(self._rules.reply(request.messages), 0, 0, cached=False, model=self.name)
        asked = self._asked(request)
        answer = self._cache.get(self._cache.key(asked), asked)
        return None if answer is None else read_answer(answer, cached=True)

    def _sent(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Reply | Refused]]:
        leave = Event()
        with ExitStack() as stack:
            client = stack.enter_context(connected(self._address, self._endpoint.concurrency, self._endpoint.timeout_s))
            pool = stack.enter_context(ThreadPoolExecutor(self._endpoint.concurrency))
            stack.callback(leave.set)
            waiting = {pool.submit(self._one, client, request, leave): request for request in requests}
            for done in as_completed(waiting):
                yield waiting[done], done.result()

    def _one(self, client: Any, request: Request, leave: Event) -> Reply | Refused:
        asked = self._asked(request)
        key = self._cache.key(asked)
        payload = {
            "model": self._endpoint.model,
            "messages": [{"role": message.role, "content": message.text} for message in request.messages],
            "temperature": self._endpoint.temperature,
            "seed": self._endpoint.seed + request.attempt,
            "max_tokens": self._endpoint.max_tokens,
            "stream": False,
        }
        highest = _bytes(request) + TOKENS_A_MESSAGE * len(request.messages)  # no token is shorter than a byte
        bound = price(self._endpoint, highest, self._endpoint.max_tokens) or 0.0
        said = self._sender.fetch(client, payload, key, bound, leave)
        if isinstance(said, Answered):
            self._cache.put(key, asked, said.body)
            return read_answer(said.body, cached=False)
        if said.billed:  # it would come again as it is, and be paid again
            self._cache.put(key, asked, {"refused": said.reason, "detail": said.detail})
        return Refused(said.reason, said.detail)

    def _told(self, places: Sequence[int], said: Reply | Refused) -> Iterator[tuple[int, Reply | Refused]]:
        """What came of a request, counted once, at each of its places."""
        if isinstance(said, Refused):
            self.account.refused[said.reason] += len(places)
        else:
            other = said.model not in ("", self.name, *self.account.models)
            self.account.add(said.model, said.cached, said.tokens_in, said.tokens_out)
            if other:
                self._log(f"{self.name}: answered by a model that calls itself {said.model[:100]!r}")
        for number, place in enumerate(places):
            yield place, said if number == 0 or isinstance(said, Refused) else said._replace(cached=True)

    def ask_all(self, requests: Sequence[Request]) -> list[Reply | Refused]:
        """Ask all of them, and stop where the endpoint is out of order: an outage is nothing found of an item.

        Returns:
            what came of each request, in their order.

        Raises:
            EndpointError: among it is a refusal that says nothing of its request.
        """
        said = dict(self.ask(requests))
        silent = self.account.replies == self.account.cached
        for each in said.values():
            if isinstance(each, Reply):
                continue
            if each.reason in OUT_OF_ORDER or (silent and each.reason.startswith(UNANSWERED)):
                raise EndpointError(
                    f"{self.name}: {each.reason} ({each.detail}). What it answered is kept and not paid for again. "
                    "Mend the endpoint's table, key or budget, or wait, and run again."
                )
        return [said[place] for place in range(len(requests))]

    def summary(self) -> dict[str, Json]:
        """What was asked so far and what it cost, for a manifest or a log."""
        return self.account.summary(self.tries, price(self._endpoint, self.account.tokens_in, self.account.tokens_out))

    def _admits(self, request: Request) -> bool:
        return self._endpoint.may_see_credentialed or not request.credentialed

    def _asked(self, request: Request) -> dict[str, Json]:
        """What names an answer on disk."""
        said: list[Json] = [[message.role, message.text] for message in request.messages]
        return {"endpoint": self.identity, "messages": said, "attempt": request.attempt}


class Rules(NamedTuple):
    """Replies by rules, without a network, under a name that says so."""

    reply: Callable[[Sequence[Message]], str]
    version: str


def read_answer(body: Mapping[str, Any], *, cached: bool) -> Reply | Refused:
    """The reply in an answer of `/chat/completions`, or why it holds none."""
    if isinstance(body.get("refused"), str):
        return Refused(body["refused"], str(body.get("detail", "")))
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Refused("no_text", "the answer holds no message")
    finish = choice.get("finish_reason")
    if message.get("refusal") or finish == "content_filter":
        return Refused("model_refused", str(message.get("refusal") or finish)[:200])
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        return Refused("no_text", f"the reply is empty, it ended for {finish!r}"[:200])
    tokens_in, tokens_out = usage(body) or (None, None)
    model = body.get("model")
    return Reply(text, tokens_in, tokens_out, cached, finish != "length", model[:200] if isinstance(model, str) else "")


def identity_of(endpoint: Endpoint) -> dict[str, Json]:
    """What `Chat.identity` would be, told without opening the endpoint.

    Raises:
        ConfigError: the endpoint's table cannot be meant.
    """
    check_endpoint(endpoint)
    return identity(endpoint, _rules(endpoint).version if endpoint.kind == "sample" else "")


def _rules(endpoint: Endpoint) -> Rules:
    """The embedded build's rules of that name."""
    from medmax_pipeline.sample.replies import RULES

    if endpoint.model not in RULES:
        raise ConfigError(f"endpoint: no rules are called {endpoint.model!r}; expected one of {sorted(RULES)}.")
    return RULES[endpoint.model]


def open_chat(endpoint: Endpoint, cache: Path, log: Log, *, backoff_s: float = 1.0) -> Chat | Lock:
    """The endpoint, ready to be asked; nothing is sent yet.

    Args:
        endpoint: of the build.
        cache: folder of the answers, `<store>/replies` in a build.
        log: gets the estimate before the first request and whatever goes wrong, each once.
        backoff_s: the first pause before a request is sent again; each further one is twice as long.

    Raises:
        ConfigError: the endpoint's table cannot be meant.
    """
    check_endpoint(endpoint)
    if endpoint.kind == "sample":
        return Chat(endpoint, cache, log, rules=_rules(endpoint), backoff_s=backoff_s)
    lock = endpoint_lock(endpoint)
    return lock or Chat(endpoint, cache, log, key=read_key(endpoint.key), backoff_s=backoff_s)


def _bytes(request: Request) -> int:
    """Bytes of a request's texts."""
    return sum(len(message.text.encode("utf-8", "surrogatepass")) for message in request.messages)
