"""The page of a small build, read as its reader's browser does."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from tests.report.conftest import HOSTILE, REPORT, SECRET, build, publish, read, write_checkpoint


class Page(HTMLParser):
    """Elements, their attributes and the text of a page."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(document)
        assert self._open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("img", "br", "meta"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_page_fetches_nothing_and_runs_nothing(document: str) -> None:
    page = Page(document)
    assert not {"script", "link", "iframe", "object", "form"} & {name for name, _ in page.elements}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "url(" not in document
    policy = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_text_of_the_data_is_text_on_the_page(document: str) -> None:
    assert "<script" not in document
    assert "<b>" not in document
    assert HOSTILE in Page(document).text


def test_the_page_says_sample(document: str) -> None:
    assert "medmax: sample" in Page(document).text
    assert "tiny models" in document


def test_a_build_without_the_embedded_corpus_is_not_called_sample(store: Path) -> None:
    assert "medmax: tiny" in Page(read(build(store, corpus=False))).text


def test_credentialed_items_show_neither_picture_nor_text(document: str) -> None:
    assert SECRET not in document
    assert "5 of 6 items, 1 of them credentialed and not shown" in document
    assert "Credentialed rows are behind this build" in document


def test_scores_stand_with_interval_gain_and_counts(document: str) -> None:
    text = " ".join(Page(document).text.split())
    assert "66.7 %" in text  # 4 of 6
    assert "+33.3" in text  # over 2 of 6
    assert "6/6" in text


def test_a_locked_metric_is_named_with_its_cure_and_has_no_value(document: str, whole: Ledger) -> None:
    assert "clip_score@biomedclip" in document
    assert "landing/weights/biomedclip/" in document
    figures = json.loads((whole.need("report").folder / "report.json").read_text())
    locked = [row for row in figures["recipes"][0]["scores"] if row["metric"] == "clip_score@biomedclip"]
    assert {row["value"] for row in locked} == {None}


def test_the_funnel_names_every_reason_with_its_count(document: str) -> None:
    text = " ".join(Page(document).text.split())
    assert "question_empty -1" in text
    assert "image_truncated (quarantine) -1" in text
    assert "eval_image -1" in text
    assert "2 train, 1 evaluation" in text


def test_all_sources_stand_in_one_table(document: str) -> None:
    text = " ".join(Page(document).text.split())
    assert "vqa_rad 5 2 3 1 1 1" in text  # in, left out, samples, evaluation, left out by curation, training


def test_what_was_left_out_can_be_looked_at_with_its_picture(document: str) -> None:
    page = Page(document)
    assert "eval_image: examples" in page.text
    assert "detail of the drop" in page.text
    alts = [attributes.get("alt") for name, attributes in page.elements if name == "img"]
    assert alts.count("picture of a sample that was left out") == 1


def test_pictures_are_inside_the_page_beside_their_captions(document: str) -> None:
    page = Page(document)
    alts = [attributes.get("alt") for name, attributes in page.elements if name == "img"]
    assert alts.count("drawn by base") == alts.count("drawn after tuning") == alts.count("reconstruction") == 3
    assert "caption 2" in page.text
    assert len(document) < 300_000


def test_a_picture_that_is_not_here_any_more_is_said_to_be_missing(ledger: Ledger) -> None:
    (ledger.landing / "vqa_rad" / "a.png").unlink()
    assert 'title="not here"' in read(ledger)


def test_the_lineage_names_every_artifact_behind_the_page(document: str, whole: Ledger) -> None:
    text = Page(document).text
    for key in ("sample_corpus", "vqa_rad/samples", "checkpoint/tiny", "scores/tiny", "image_codes"):
        assert key in text
        assert whole.need(key).manifest.digest[:12] in text


def test_the_same_artifacts_give_the_same_bytes(ledger: Ledger) -> None:
    first, _ = ledger.execute(REPORT)
    ledger.raise_counter("report")
    again, made = ledger.execute(REPORT)
    assert made
    assert again.manifest.digest == first.manifest.digest


def test_the_loss_is_drawn_for_text_and_for_pictures(document: str) -> None:
    lines = re.findall(r'<polyline points="([^"]+)" class="curve (\S+)"', document)
    assert {style: len(points.split()) for points, style in lines} == {"text-loss": 4, "image-loss": 3}


def test_a_locked_build_is_reported_and_not_locked(ledger: Ledger) -> None:
    lock = Lock("vqa_rad is not here.", "Place its files.")
    for key in ("vqa_rad/samples", "vqa_rad/curated", "shards/tiny", "checkpoint/tiny", "scores/tiny"):
        publish(ledger, key, write_checkpoint, lock=lock)
    for model in ("tiny", "base"):
        for name in ("vqa_rad/closed", "image_generation/pmc_oa"):
            publish(ledger, f"eval/{model}/{name}", lock=lock)
    document = read(ledger)
    assert not ledger.need("report").locked
    assert "Place its files." in document
    assert "No evaluation was run" in document
