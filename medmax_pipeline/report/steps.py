"""The `report` step: `report.json` and one self-contained `index.html`."""

from __future__ import annotations

from collections.abc import Sequence

from medmax_pipeline.eval.steps import BASE
from medmax_pipeline.files import write_json, write_text
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Need, Outcome, Run, Step

REPORT_VERSION = "4"
"""Raise when the same artifacts would give another page."""
PAGE = "index.html"
FIGURES = "report.json"


def report_step(
    recipes: Sequence[str], sources: Sequence[str], trained: Sequence[str], tasks: Sequence[str], base: bool
) -> Step:
    """The step that writes the page of a build; it locks on nothing, since a lock is something to report.

    Args:
        recipes: the build's recipes.
        sources: its sources.
        trained: those of them that have training rows, and so are curated.
        tasks: the rows it evaluates.
        base: whether the base model was evaluated too.
    """
    models = [*recipes, BASE] if base else [*recipes]
    needs = [f"{kind}/{recipe}" for recipe in recipes for kind in ("scores", "checkpoint", "shards")]
    needs += [f"{source}/samples" for source in sources] + [f"{source}/curated" for source in trained]
    needs += [f"eval/{model}/{key}" for model in models for key in tasks]

    def run(run: Run) -> Outcome:
        from medmax_pipeline.report.figures import collect
        from medmax_pipeline.report.funnel import left_out
        from medmax_pipeline.report.gallery import galleries
        from medmax_pipeline.report.interleaved import written
        from medmax_pipeline.report.page import page

        figures = collect(run, recipes, sources)
        shown = galleries(run, recipes, sources, tasks)
        title = "sample" if figures.sample else ", ".join(recipes)
        document = page(figures, shown, left_out(run.inputs["funnel"]), written(run), title)
        write_json(run.out / FIGURES, figures.to_json())
        write_text(run.out / PAGE, document)
        count = sum(len(each.examples) for each in shown)
        return Outcome(
            counts=Counts(taken=count, kept=count),
            summary={"page_bytes": len(document.encode()), "examples": count, "sample": figures.sample},
        )

    return Step(
        key="report",
        run=run,
        code_version=REPORT_VERSION,
        needs=tuple(Need(key) for key in (*needs, "funnel", "image_codes")),
        params={"recipes": list(recipes), "sources": list(sources), "tasks": list(tasks), "base": base},
        locks_on=(),
        group="report",
        description="The static page: funnel, scores with intervals, pictures, locks, lineage.",
    )
