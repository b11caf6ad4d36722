"""A small build up to the interleaved set: curated pairs made by hand, and an author behind a loopback server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medmax_pipeline.config import Curation, Endpoint, Interleave
from medmax_pipeline.files import digest_of
from medmax_pipeline.interleave.steps import interleaved_curated_step, written_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.steps import Artifact, Outcome, Run, Step
from tests.curation.published import publish, sample
from tests.models.chat_server import ChatServer

GOOD = {
    "question": "What does a torn meniscus look like?",
    "interpretation": "A tear is a line of high signal that reaches the surface.",
    "analogy": "Think of a crack in a wet sponge.",
    "significance": "It explains pain and locking.",
    "related": "Cysts and degeneration.",
    "reference": "A meniscus is dark throughout.",
    "next_steps": "Examination of the knee.",
}
"""What a willing author writes."""
CAPTION = "Caption:\n"


def pair(name: str, source: str = "pmc_oa", **fields: Any) -> Sample:
    """A curated pair whose picture and caption are of its name."""
    made = sample(name, digest_of(name), source=source, said=f"Caption of {name}.")
    return replace(made, **fields)


def good(messages: Sequence[Mapping[str, str]]) -> str:
    """A readable reply that names the caption it was asked about."""
    caption = messages[-1]["content"].partition(CAPTION)[2]
    return json.dumps(GOOD | {"interpretation": f"It says: {caption} No more than that."})


@dataclass
class House:
    """A store with published pairs, and the steps of the set."""

    root: Path
    pairs: Mapping[str, Sequence[Sample]]
    wanted: Interleave = field(default_factory=lambda: Interleave(endpoint="author", sources=("pmc_oa",)))
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.root / "store", "test", self.root / "landing")

    def asking(self, server: ChatServer, **fields: Any) -> House:
        """The same with an author behind this server."""
        plain = {"kind": "openai", "model": "author-1", "url": server.url, "key": "", "retries": 0, "timeout_s": 20.0}
        return replace(self, endpoints={"author": Endpoint(**{**plain, **fields})})

    def build(self) -> Artifact:
        """Publish pairs and the set; `interleaved/samples`."""
        for step in self.steps():
            self.ledger.execute(step, log=self.log.append)
        return self.ledger.need("interleaved/samples")

    def steps(self) -> list[Step]:
        made = [step for source, pairs in self.pairs.items() for step in _published(source, pairs)]
        made.append(written_step(self.wanted, self.endpoints, tuple(self.pairs)))
        return [*made, interleaved_curated_step(Curation())]


def _published(source: str, pairs: Sequence[Sample]) -> list[Step]:
    def run(ctx: Run) -> Outcome:
        publish(ctx.out, pairs)
        credentialed = any(one.credentialed for one in pairs)
        return Outcome(Counts(len(pairs), len(pairs)), licences=("Open",), credentialed=credentialed)

    ids = [one.sample_id for one in pairs]
    return [Step(f"{source}/{station}", run, "1", params={"ids": [*ids]}) for station in ("samples", "curated")]
