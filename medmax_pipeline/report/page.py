"""The page itself: figures and examples in, one self-contained HTML document out. No number is made here."""

from __future__ import annotations

from collections.abc import Sequence

from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.report.board import board_section, trained_section
from medmax_pipeline.report.charts import curves
from medmax_pipeline.report.figures import DIGITS, Figures, RecipeFigures
from medmax_pipeline.report.funnel import Shown, funnel_section
from medmax_pipeline.report.gallery import Example, Gallery
from medmax_pipeline.report.interleaved import Written, interleaved_section
from medmax_pipeline.report.markup import UNKNOWN, Markup, joined, note, section, table, tag
from medmax_pipeline.report.scoreboard import header, locked_section, scores_section
from medmax_pipeline.report.style import CSS

TEXT_SHOWN = 280
"""Characters of a caption or reply on the page."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is fetched and nothing runs, whatever text got onto the page."""


def page(
    figures: Figures, galleries: Sequence[Gallery], left_out: Sequence[Shown], author: Written | None, build: str
) -> str:
    """The whole document.

    Args:
        figures: all numbers.
        galleries: what models said and drew.
        left_out: examples of the funnel.
        author: the interleaved set, where there is one.
        build: its name.
    """
    title = f"medmax: {build}"
    style = Markup(CSS)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    body = tag(
        "body",
        header(figures, title),
        board_section(figures.board, figures.sample),
        trained_section(figures.board.trained),
        *(scores_section(recipe) for recipe in figures.recipes),
        *(_training(recipe) for recipe in figures.recipes),
        _pictures(figures, galleries),
        funnel_section(figures, left_out),
        interleaved_section(author),
        locked_section(figures),
        _lineage(figures),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


# -- training --------------------------------------------------------------------------------------------


def _training(recipe: RecipeFigures) -> Markup:
    title = f"Training of {recipe.recipe}"
    if not recipe.losses:
        return section(title, note(f"No loss: {recipe.training.status}. {recipe.training.reason}"))
    text = [(point.step, point.text) for point in recipe.losses if point.text is not None]
    image = [(point.step, point.image) for point in recipe.losses if point.image is not None]
    drawn = curves([("text", "text-loss", text), ("image codes", "image-loss", image)])
    return section(
        title,
        note(
            f"Loss in nats a token over {recipe.losses[-1].step} steps; {recipe.training.taken:,} sequences. "
            "Text and picture codes are told apart."
        ),
        drawn,
    )


# -- pictures -----------------------------------------------------------------------------------------------------


def _pictures(figures: Figures, galleries: Sequence[Gallery]) -> Markup:
    blocks = [_gallery(each) for each in galleries]
    if not blocks:
        blocks = [note("No evaluation was run, so there is nothing to show.")]
    return section(
        "Pictures and answers",
        note(
            "Items are the first by id, not the best. A reconstruction is what the image tokenizer keeps of a picture. "
            "Credentialed pictures are never shown."
        ),
        *blocks,
    )


def _gallery(each: Gallery) -> Markup:
    hidden = f", {each.hidden} of them credentialed and not shown" if each.hidden else ""
    title = tag("h3", f"{each.task} — {each.recipe}")
    drawn = any(example.tuned_picture for example in each.examples)
    if drawn:
        headers = ("caption", "picture", "reconstruction", "base draws", f"{each.recipe} draws")
        rows = [_drawn(example) for example in each.examples]
    else:
        headers = ("picture", "asked", "reference", "base answers", f"{each.recipe} answers")
        rows = [_answered(example) for example in each.examples]
    return joined([title, note(f"{len(each.examples)} of {each.of} items{hidden}."), table(headers, rows)])


def _drawn(example: Example) -> tuple[object, ...]:
    pictures = (example.original, example.reconstruction, example.base_picture, example.tuned_picture)
    names = ("picture", "reconstruction", "drawn by base", "drawn after tuning")
    return (_short(example.reference), *(_image(uri, name) for uri, name in zip(pictures, names, strict=True)))


def _answered(example: Example) -> tuple[object, ...]:
    return (
        _image(example.original, "picture"),
        _short(example.prompt.replace("<image>", "")),
        _short(example.reference),
        _reply(example.base),
        _reply(example.tuned),
    )


def _reply(record: ItemRecord | None) -> Markup:
    if record is None:
        return tag("span", UNKNOWN)
    likeliest = record.predictions.get("strict")
    if likeliest is None:
        return tag("span", _short(record.generated_text) or "(nothing)")
    verdict = {True: "right", False: "wrong", None: "unscored"}[record.correct_strict]
    return tag("span", f"{likeliest} ({verdict})", title=f"greedy text: {_short(record.generated_text)}")


def _image(uri: str, name: str) -> Markup:
    return tag("img", src=uri, alt=name, width=96, height=96) if uri else tag("span", UNKNOWN, title="not here")


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + "…"


# -- lineage ----------------------------------------------------------------------------------------------------------


def _lineage(figures: Figures) -> Markup:
    rows = [
        (
            each.key,
            tag("code", each.fingerprint[:DIGITS], title=each.fingerprint),
            tag("code", each.digest[:DIGITS], title=each.digest),
            tag("span", "locked", class_="locked") if each.status == "locked" else each.status,
            each.raw_files or "",
            "; ".join(each.licences),
            "credentialed" if each.credentialed else "",
        )
        for each in figures.lineage
    ]
    headers = ("artifact", "fingerprint", "digest", "status", "raw files", "licences", "")
    command = tag("code", "medmax lineage KEY")
    told = note("Every artifact behind this page. ", command, " prints the raw files with their digests.")
    return section("Lineage", told, table(headers, rows, numbers=(4,)))
