"""The steps of curation: `duplicates`, `leakage` and `figures` across sources, `<source>/curated` for each.

Only the joints with the ledger are here; what is done is imported when a step runs. The cross-source steps publish
one part a source and do not lock when a source does; `<source>/curated` depends on its own part alone, so that a change
of one source leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

from medmax_pipeline.config import Curation, Nearness
from medmax_pipeline.curation import DECISIONS, licence, single_image, split
from medmax_pipeline.curation.figure_prompts import SCORER, prompts_named
from medmax_pipeline.curation.instructions import Formatter, forms
from medmax_pipeline.curation.phrases import Templates, read_templates
from medmax_pipeline.files import Json, digest_of
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Drop, Sample
from medmax_pipeline.sources import SOURCES
from medmax_pipeline.sources import source as record_of
from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.withdrawal import PARAMETER, parameters

DUPLICATES_VERSION: Final = "2"
"""Raise it when the same samples would be judged otherwise."""
LEAKAGE_VERSION: Final = "2"
"""Raise it when the same pictures would be judged otherwise."""
FIGURES_VERSION: Final = "1"
"""Raise it when the same pictures would be judged otherwise by the same model."""
CURATED_VERSION: Final = "2"
"""Raise it when the same verdicts would give other samples: order of decisions, instruction forms."""
FUNNEL_VERSION: Final = "1"
"""Raise it when the same artifacts would give another table."""
NO_SCORER: Final = Lock(
    "Figures are found by a similarity model, and this build names none.",
    'Give the build similarity_model = { kind = "published", name = "biomedclip" }, or say curation.figures = "off".',
)


def _across(
    key: str,
    sources: Sequence[str],
    mode: str,
    version: str,
    run: Callable[[Run], Outcome],
    what: str,
    limits: Nearness | None,
) -> Step:
    """A step that looks at the samples of all sources; switched off, it needs none and finds nothing."""
    needs = tuple(Need(f"{source}/samples") for source in sources) if mode != "off" else ()
    params: dict[str, Json] = {"mode": mode, "sources": list(sources)}
    if mode == "near":
        params["limits"] = asdict(limits or Nearness())
    return Step(
        key=key,
        run=run,
        code_version=version,
        needs=needs,
        params=params,
        locks_on=(),
        group="curation",
        description=what,
    )


def duplicates_step(sources: Sequence[str], mode: str, limits: Nearness | None = None) -> Step:
    """Training samples that say what another one says.

    Args:
        sources: keys of the build's sources; the earlier one keeps its sample.
        mode: `near`, `exact` or `off`.
        limits: from which measures on pictures are copies, for `near`.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation.across import make_duplicates

        return make_duplicates(ctx, sources, mode, limits or Nearness())

    what = "Training samples with the same pictures and text as another one, within and across sources."
    return _across("duplicates", sources, mode, DUPLICATES_VERSION, run, what, limits)


def leakage_step(sources: Sequence[str], mode: str, limits: Nearness | None = None) -> Step:
    """Training samples that show an evaluation picture.

    Args:
        sources: keys of the build's sources.
        mode: `near`, `exact` or `off`.
        limits: from which measures on pictures are copies, for `near`.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation.across import make_leakage

        return make_leakage(ctx, sources, mode, limits or Nearness())

    what = (
        "Training samples whose picture is an evaluation picture of any source, by bytes, by pixels or changed, and "
        "the evaluation items concerned; planted copies must be found, and decoys must accuse nobody."
    )
    return _across("leakage", sources, mode, LEAKAGE_VERSION, run, what, limits)


def figures_step(sources: Sequence[str], curation: Curation, scorer: bool) -> Step:
    """Training samples that show a plot or chart instead of a patient.

    Args:
        sources: keys of the build's sources.
        curation: whose pictures are looked at, with which descriptions and threshold.
        scorer: whether the build has a similarity model.

    Raises:
        ConfigError: there is no list of descriptions of that name.
    """
    mode, looked_at = curation.figures, figure_sources(curation, sources)
    prompts = prompts_named(curation.figures_prompts)

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation.figures import make_figures

        return make_figures(ctx, looked_at, mode)

    needs = [*([Need(SCORER)] if scorer else []), *(Need(f"{source}/samples") for source in looked_at)]
    return Step(
        key="figures",
        run=run,
        code_version=FIGURES_VERSION,
        needs=tuple(needs) if mode != "off" else (),
        params={
            "mode": mode,
            "sources": list(looked_at),
            "threshold": curation.figures_threshold,
            "prompts": curation.figures_prompts,
            "prompts_digest": digest_of([list(prompts.figure), list(prompts.medical)])[:16],
        },
        locks_on=(SCORER,),
        lock=(lambda landing: NO_SCORER) if mode != "off" and not scorer else None,
        group="curation",
        description="Plots and charts among the pictures of articles, by a similarity model's score: every score, "
        "their distribution, and pictures of both sides of the threshold.",
    )


def figure_sources(curation: Curation, sources: Sequence[str]) -> list[str]:
    """The sources of a build whose pictures `figures` looks at."""
    return [source for source in sources if source in curation.figures_sources]


def curated_step(source: str, curation: Curation, placeholder: str = "") -> Step:
    """The training samples of one source that survive, in their instruction form.

    Args:
        source: the source's key.
        curation: which decisions are taken, and the forms.
        placeholder: what its adapter asks where the publisher has no question of its own; empty: it always has one.

    Raises:
        ConfigError: the licences, templates or held-out shares name what does not exist.
    """
    formed = formatter(curation, placeholder)
    modes = across_modes(curation, source)
    taken = tuple(decision for decision, mode in modes.items() if mode != "off")

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation import curated

        samples = ctx.inputs[f"{source}/samples"].folder
        asked = decisions(ctx, source, curation, taken)
        return curated.curate(samples, asked, formed, ctx.out, ctx.landing)

    return Step(
        key=f"{source}/curated",
        run=run,
        code_version=CURATED_VERSION,
        needs=(Need(f"{source}/samples"), *(Need(decision, source) for decision in taken)),
        params={
            **modes,
            **sample_params(curation, source),
            **form_params(curation, formed.templates),
        },
        withdrawn=lambda store, inputs: parameters(store, [inputs[f"{source}/samples"]], "train"),
        group=source,
        description="Training samples that survive, in the form in which they teach, and the funnel of the others.",
    )


def funnel_step(sources: Sequence[str], trained: Sequence[str]) -> Step:
    """The funnel over all sources as one table; it locks on nothing, since a lock is a line of it.

    Args:
        sources: keys of the build's sources, and the interleaved set where there is one.
        trained: those of them that are curated.
    """

    def run(ctx: Run) -> Outcome:
        from medmax_pipeline.curation.funnel import make_funnel

        return make_funnel(ctx, sources)

    needs = [f"{source}/samples" for source in sources] + [f"{source}/curated" for source in trained]
    return Step(
        key="funnel",
        run=run,
        code_version=FUNNEL_VERSION,
        needs=tuple(map(Need, needs)),
        params={"sources": list(sources)},
        locks_on=(),
        group="curation",
        description="Of every source: rows in, each reason for which some were left out, samples out, and examples.",
    )


def decisions(ctx: Run, source: str, curation: Curation, taken: Sequence[str]) -> list[Callable[[Sample], Drop | None]]:
    """The decisions on one source's samples, in their order.

    Args:
        ctx: of a step that reads the source's samples and its parts of the decisions taken.
        source: the source's key.
        curation: the build's.
        taken: decisions that look across sources, of those whose verdicts are asked for.
    """
    from medmax_pipeline.curation import curated

    stay, held_out = _admitted(curation), _held_out(curation, source)
    here: dict[str, curated.Decide] = {
        PARAMETER: curated.withdrawn(ctx.inputs[f"{source}/samples"].folder, ctx.params),
        "licence": lambda sample: licence.decide(sample, stay),
        "split": lambda sample: split.decide(sample, held_out),
    }
    if curation.single_image:
        here["single_image"] = single_image.decide
    for decision in taken:
        part = ctx.inputs[decision].folder / f"{source}.parquet"
        here[decision] = curated.by_id(curated.READERS[decision](part))
    return [here[decision] for decision in DECISIONS if decision in here]


def sample_params(curation: Curation, source: str) -> dict[str, Json]:
    """What of the build decides on single samples of a source.

    Raises:
        ConfigError: the licences or held-out shares name what does not exist.
    """
    stay = _admitted(curation)
    return {
        "licences": [*sorted(stay)] if stay is not None else [],
        "single_image": curation.single_image,
        "held_out": _held_out(curation, source),
    }


def _admitted(curation: Curation) -> frozenset[str] | None:
    return licence.admitted(curation.licences, {one.licence.name for one in SOURCES.values()})


def _held_out(curation: Curation, source: str) -> float:
    if source not in curation.hold_out:
        return 0.0
    return split.held_out_share(curation.hold_out, record_of(source))


def across_modes(curation: Curation, source: str) -> dict[str, str]:
    """How each decision that looks across sources is taken on a source."""
    return {
        "leakage": curation.leakage,
        "duplicates": curation.duplicates,
        "figures": curation.figures if source in curation.figures_sources else "off",
        "captions": curation.captions if source in curation.captions_sources else "off",
    }


def formatter(curation: Curation, placeholder: str) -> Formatter:
    """What puts the samples of a source into their form.

    Args:
        curation: shares, template set and the form of answers.
        placeholder: what the adapter says for the user where the publisher says nothing.
    """
    return Formatter(
        forms(curation.generation_share, curation.radiograph_share),
        read_templates(curation.templates),
        curation.evaluation_phrase_share,
        curation.mcq_answer,
        placeholder,
    )


def form_params(curation: Curation, templates: Templates) -> dict[str, Json]:
    """What of the build decides on forms; the set's digest stands for its words."""
    return {
        "generation_share": curation.generation_share,
        "radiograph_share": curation.radiograph_share,
        "templates": templates.name,
        "templates_digest": templates.digest,
        "evaluation_phrase_share": curation.evaluation_phrase_share,
        "mcq_answer": curation.mcq_answer,
    }
