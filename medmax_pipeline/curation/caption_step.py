"""The step `captions`: what it reads, its parameters and what locks it.

What it does is `captions.py`, imported when it runs; how its verdicts are applied is `curated.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from medmax_pipeline.config import Curation, Endpoint
from medmax_pipeline.curation.caption_prompt import read_caption_prompt
from medmax_pipeline.curation.steps import across_modes, decisions, sample_params
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json
from medmax_pipeline.manifest import Lock
from medmax_pipeline.steps import Artifact, Need, Outcome, Run, Step
from medmax_pipeline.withdrawal import parameters

CAPTIONS: Final = "captions"
CAPTIONS_VERSION: Final = "1"
"""Raise it when the same replies would be read otherwise, or other captions would be asked about."""
NOBODY: Final = Lock(
    "Captions are judged by a language model, and this build names none.",
    "Describe one in the build's [endpoints] and name it as curation.captions_endpoint, or say "
    'curation.captions = "off".',
)


def captions_step(sources: Sequence[str], curation: Curation, endpoints: Mapping[str, Endpoint]) -> Step:
    """Training samples whose caption says nothing of a picture.

    Args:
        sources: keys of the build's sources that are curated.
        curation: whose captions are judged, by whom and with which prompt.
        endpoints: of the build, by name.

    Raises:
        ConfigError: there is no endpoint or prompt of that name.
    """
    name, on = curation.captions_endpoint, curation.captions != "off"
    if name and name not in endpoints:
        raise ConfigError(
            f"curation.captions_endpoint is {name!r}; endpoints of the build are {', '.join(endpoints) or 'none'}."
        )
    endpoint, prompt = endpoints.get(name), read_caption_prompt(curation.captions_prompt)
    looked_at = [source for source in sources if across_modes(curation, source)[CAPTIONS] != "off"] if on else []
    needs = [need for source in looked_at for need in _needs(curation, source)]

    def run(ctx: Run) -> Outcome:
        return _run(ctx, looked_at, curation, endpoint if on else None)

    def lock(landing: Path) -> Lock | None:
        from medmax_pipeline.models.admission import endpoint_lock

        if not on:
            return None
        return NOBODY if endpoint is None else endpoint_lock(endpoint)

    def withdrawn(store: Path, inputs: Mapping[str, Artifact]) -> dict[str, Json]:
        return parameters(store, [inputs[f"{source}/samples"] for source in looked_at], "train")

    return Step(
        key=CAPTIONS,
        run=run,
        code_version=CAPTIONS_VERSION,
        needs=tuple(dict.fromkeys(needs)),
        params={
            "mode": curation.captions,
            "sources": list(looked_at),
            "prompt": prompt.name,
            "prompt_digest": prompt.digest,
            **_asked_of(endpoint if on else None),
            "before": {source: sample_params(curation, source) for source in looked_at},
        },
        withdrawn=withdrawn,
        lock=lock,
        locks_on=(),
        group="curation",
        description="Captions that say nothing of a picture, as a language model reads them; those that nobody could "
        "judge are quarantined by name.",
    )


def _run(ctx: Run, looked_at: Sequence[str], curation: Curation, endpoint: Endpoint | None) -> Outcome:
    """Judge the captions of the sources that are not locked; None of an endpoint: the decision is off."""
    from medmax_pipeline.curation.captions import Asked, CaptionJudge, make_captions
    from medmax_pipeline.ledger import Ledger
    from medmax_pipeline.models.endpoint import open_chat
    from medmax_pipeline.models.replies_cache import REPLIES

    if endpoint is None:
        return make_captions(ctx, looked_at, {}, None)
    chat = open_chat(endpoint, ctx.store / REPLIES, ctx.log)
    if isinstance(chat, Lock):
        raise ConfigError(f"{CAPTIONS}: {chat.reason} {chat.cure}")
    asked = {
        source: Asked(
            ctx.inputs[f"{source}/samples"].folder, decisions(ctx, source, curation, _before(curation, source))
        )
        for source in looked_at
        if not any(ctx.inputs[need.key].locked for need in _needs(curation, source))
    }
    told_again = Ledger(ctx.store, CAPTIONS, ctx.landing).counter(CAPTIONS)  # read only: any build's name will do
    judge = CaptionJudge(chat, read_caption_prompt(curation.captions_prompt), 1 + told_again)
    return make_captions(ctx, looked_at, asked, judge)


def _before(curation: Curation, source: str) -> tuple[str, ...]:
    """The decisions across sources that come first."""
    return tuple(
        decision for decision, mode in across_modes(curation, source).items() if mode != "off" and decision != CAPTIONS
    )


def _needs(curation: Curation, source: str) -> list[Need]:
    return [Need(f"{source}/samples"), *(Need(decision, source) for decision in _before(curation, source))]


def _asked_of(endpoint: Endpoint | None) -> dict[str, Json]:
    """Who is asked, as far as a verdict depends on it."""
    if endpoint is None:
        return {"model": None}
    from medmax_pipeline.models.endpoint import identity_of

    return {"model": identity_of(endpoint), "may_see_credentialed": endpoint.may_see_credentialed}
