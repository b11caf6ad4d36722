"""What asking an endpoint would cost and has cost, in tokens and, where the build gives prices, in USD.

Stopping at a budget is `spending.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from medmax_pipeline.config import Endpoint
from medmax_pipeline.files import Json


class Cost(NamedTuple):
    """What requests would cost, before they are sent."""

    requests: int
    """Equal ones count once."""
    cached: int
    """Of these, with an answer on disk."""
    tokens_in: int
    """Estimated from the text's bytes."""
    tokens_out: int
    """At most: `max_tokens` a request."""
    usd: float | None
    """None where the build gives no prices."""

    def __str__(self) -> str:
        money = "prices not given" if self.usd is None else f"about {self.usd:.4f} USD at most"
        return (
            f"{self.requests} requests, {self.cached} of them answered before; about {self.tokens_in} tokens in and at "
            f"most {self.tokens_out} out, {money}"
        )


def price(endpoint: Endpoint, tokens_in: int, tokens_out: int) -> float | None:
    """USD of so many tokens; None where the build gives no prices."""
    if endpoint.usd_per_million_in is None or endpoint.usd_per_million_out is None:
        return None
    return (tokens_in * endpoint.usd_per_million_in + tokens_out * endpoint.usd_per_million_out) / 1e6


@dataclass
class Account:
    """What was asked so far, and what it cost as counted by the server."""

    replies: int = 0
    cached: int = 0
    """Of the replies, those that lay on disk."""
    tokens_in: int = 0
    tokens_out: int = 0
    """Of the replies that did not lie on disk."""
    uncounted: int = 0
    """Replies that did not lie on disk and whose tokens the server did not count."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests without a reply, by reason."""
    models: Counter[str] = field(default_factory=Counter)
    """Models that say they answered, by replies."""

    def add(self, model: str, cached: bool, tokens_in: int | None, tokens_out: int | None) -> None:
        """Count one reply."""
        self.replies += 1
        self.cached += cached
        self.models[model] += 1
        if not cached:
            self.uncounted += tokens_in is None or tokens_out is None
            self.tokens_in += tokens_in or 0
            self.tokens_out += tokens_out or 0

    def summary(self, sent: int, usd: float | None) -> dict[str, Json]:
        """All of it, for a manifest or a log.

        Args:
            sent: requests over the wire, those that failed included.
            usd: price of the tokens.
        """
        found: dict[str, Json] = {
            "replies": self.replies,
            "cached": self.cached,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "uncounted": self.uncounted,
            "sent": sent,
            "usd": None if usd is None else round(usd, 6),
        }
        found |= {f"refused_{reason}": count for reason, count in sorted(self.refused.items())}
        return found | {f"answered_by {model}": count for model, count in sorted(self.models.items()) if model}
