"""The steps `interleaved/samples` and `interleaved/curated`: what they read, their parameters and what locks them.

What they do is `write.py` and `curation/curated.py`, imported when a step runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from medmax_pipeline.config import INTERLEAVED, Curation, Endpoint, Interleave
from medmax_pipeline.curation import licence
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import Json
from medmax_pipeline.interleave.prompt import read_prompt
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.withdrawal import parameters

SAMPLES_VERSION: Final = "1"
"""Raise it when the same pairs and replies would give other samples."""
CURATED_VERSION: Final = "1"
"""Raise it when the same samples would be judged otherwise."""


def written_step(wanted: Interleave, endpoints: Mapping[str, Endpoint], trained: tuple[str, ...]) -> Step:
    """The step that writes the set.

    Args:
        wanted: of the build.
        endpoints: of the build, by name.
        trained: the build's sources that are curated.

    Raises:
        ConfigError: it names an endpoint, source or prompt that does not exist, or no source at all.
    """
    _check(wanted, endpoints, trained)
    key = f"{INTERLEAVED}/samples"
    prompt = read_prompt(wanted.prompt)
    endpoint = endpoints.get(wanted.endpoint)
    params: dict[str, Json] = {
        "sources": list(wanted.sources),
        "limit": dict(sorted(wanted.limit.items())),
        "prompt": prompt.name,
        "prompt_digest": prompt.digest,
        "attempts": wanted.attempts,
    }
    if endpoint is not None:
        from medmax_pipeline.models.endpoint import identity_of

        params |= {"author": identity_of(endpoint), "may_see_credentialed": endpoint.may_see_credentialed}

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.interleave.write import Task, write_set
        from medmax_pipeline.ledger import Ledger
        from medmax_pipeline.models.endpoint import open_chat
        from medmax_pipeline.models.replies_cache import REPLIES

        assert endpoint is not None
        chat = open_chat(endpoint, ctx.store / REPLIES, ctx.log)
        if isinstance(chat, Lock):
            raise ConfigError(f"{INTERLEAVED}: {chat.reason} {chat.cure}")
        told_again = Ledger(ctx.store, INTERLEAVED, ctx.landing).counter(key)  # read only: any build's name will do
        task = Task(chat, prompt, wanted.attempts * (1 + told_again), endpoint.may_see_credentialed)
        return write_set(ctx, task, wanted.sources, wanted.limit)

    needs = [Need(f"{source}/{station}") for source in wanted.sources for station in ("samples", "curated")]
    author = "nobody" if endpoint is None else endpoint.model
    return Step(
        key=key,
        run=run,
        code_version=SAMPLES_VERSION,
        needs=tuple(needs),
        params=params,
        lock=lambda landing: _lock(endpoint),
        group=INTERLEAVED,
        description=f"Questions with three-part answers and one picture in the reply, written by {author}"
        + (", rules of the embedded build and no language model." if endpoint and endpoint.kind == "sample" else "."),
    )


def _lock(endpoint: Endpoint | None) -> Lock | None:
    """Why nobody can be asked from here, and the cure."""
    from medmax_pipeline.models.admission import endpoint_lock

    if endpoint is None:
        return Lock(
            "no endpoint writes the interleaved set.",
            "Describe one in the build's [endpoints] and name it in [interleave] endpoint.",
        )
    return endpoint_lock(endpoint)


def _check(wanted: Interleave, endpoints: Mapping[str, Endpoint], trained: tuple[str, ...]) -> None:
    if wanted.endpoint and wanted.endpoint not in endpoints:
        raise ConfigError(
            f"interleave.endpoint is {wanted.endpoint!r}; endpoints of the build are {', '.join(endpoints) or 'none'}."
        )
    strange = sorted({*wanted.sources, *wanted.limit} - {*trained})
    if strange or not wanted.sources:
        raise ConfigError(f"interleave.sources and limit name {strange}; expected some of {', '.join(trained)}.")
    if wanted.attempts < 1 or any(most < 0 for most in wanted.limit.values()):
        raise ConfigError("interleave.attempts must be at least 1, and no limit below 0.")


def interleaved_curated_step(curation: Curation) -> Step:
    """The samples of the set that survive: their pairs were curated before, so people and licences alone decide."""
    stay = licence.admitted(curation.licences, {one.licence.name for one in SOURCES.values()})

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation import curated

        samples = ctx.inputs[f"{INTERLEAVED}/samples"].folder
        asked = [curated.withdrawn(samples, ctx.params), lambda sample: licence.decide(sample, stay)]
        return curated.curate(samples, asked, lambda sample: sample, ctx.out, ctx.landing)

    return Step(
        key=f"{INTERLEAVED}/curated",
        run=run,
        code_version=CURATED_VERSION,
        needs=(Need(f"{INTERLEAVED}/samples"),),
        params={"licences": [*sorted(stay)] if stay is not None else []},
        withdrawn=lambda store, inputs: parameters(store, [inputs[f"{INTERLEAVED}/samples"]], "train"),
        group=INTERLEAVED,
        description="Interleaved samples that survive; their pairs met every other decision before.",
    )
