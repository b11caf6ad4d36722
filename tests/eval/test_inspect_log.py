"""Logs that inspect_ai itself reads: the same items, pictures, figures and reasons as the records."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from inspect_ai.log import EvalLog, EvalSample, read_eval_log, read_eval_log_sample_summaries
from inspect_ai.model import ContentImage, ContentText
from PIL import Image

from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.inspect_log import export_logs
from medmax_pipeline.eval.records import IMAGES, ITEMS, SCORERS, ItemRecord, records_to_table
from medmax_pipeline.files import sha256_bytes, write_bytes, write_json, write_table
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Counts
from medmax_pipeline.steps import Need, Outcome, Run, Step
from tests.eval.conftest import CLOSED, record
from tests.report.conftest import drawn, write_source

PICTURE = sha256_bytes(drawn(7))
DRAWN = sha256_bytes(drawn(60))
KEY = "eval/tiny/vqa_rad/open"


def opened(number: int, value: float | None, **more: object) -> ItemRecord:
    """An open item with its verdict by the sample's judge."""
    fields: dict[str, object] = {
        "task": "vqa_rad/open",
        "image_ids": (PICTURE,),
        "prompt": "<image>What is shown?",
        "reference": "a lung",
        "generated_text": f"lung {number}",
        "verdicts": ("Correctness: 1",),
        "metrics": {"judge_correct@sample_judge": value, "token_f1": 0.5},
        "unscored": "" if value is not None else "judge_unreadable",
    }
    return record(number, None, **(fields | more))  # type: ignore[arg-type]


def publish(ledger: Ledger, records: Sequence[ItemRecord], lock: Lock | None = None) -> None:
    """Publish the source's pictures and an evaluation with these records."""

    def samples(run: Run) -> Outcome:
        write_source("vqa_rad", run)
        write_table(run.out / "samples.parquet", samples_to_table(CLOSED))
        return Outcome()

    def evaluation(run: Run) -> Outcome:
        write_table(run.out / ITEMS, records_to_table(records))
        write_bytes(run.out / IMAGES / f"{DRAWN}.png", drawn(60))
        write_json(run.out / SCORERS, {"judge": {"name": "sample_judge", "identity": {}, "lock": None}})
        return Outcome(Counts(taken=len(records), kept=len(records)))

    ledger.execute(Step("vqa_rad/samples", samples, "1"))
    ledger.execute(
        Step(
            KEY,
            evaluation,
            "1",
            needs=(Need("vqa_rad/samples"),),
            params={"task": "vqa_rad/open", "source": "vqa_rad", "records": len(records)},
            lock=(lambda landing: lock) if lock else None,
        )
    )


@pytest.fixture
def ledger(store: Path) -> Ledger:
    """An empty store whose landing folder gets the picture."""
    return Ledger(store, "test", store / "landing")


def read(path: Path) -> EvalLog:
    """A log as the library reads it, its pictures in place."""
    return read_eval_log(str(path), resolve_attachments="full")


def items(log: EvalLog) -> dict[str, EvalSample]:
    """Items of a log by id."""
    return {str(sample.id): sample for sample in log.samples or ()}


def shade(part: object) -> int:
    """Grey level of an embedded picture."""
    assert isinstance(part, ContentImage)
    data = base64.b64decode(part.image.removeprefix("data:image/png;base64,"))
    pixel = Image.open(io.BytesIO(data)).convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[0])


def test_the_library_reads_every_item_with_question_picture_answer_and_reference(
    ledger: Ledger, tmp_path: Path
) -> None:
    made = [opened(n, float(n % 2)) for n in range(5)]
    publish(ledger, made)
    (path,) = export_logs(ledger, KEY, tmp_path / "logs")
    log = read(path)
    assert (log.status, log.eval.task, log.eval.model) == ("success", "vqa_rad/open", "medmax/tiny")
    found = items(log)
    assert found.keys() == {each.item_id for each in made}
    one = found[made[3].item_id]
    picture, text = one.messages[0].content
    assert shade(picture) == 7
    assert isinstance(text, ContentText)
    assert text.text == "What is shown?"
    assert one.output.completion == "lung 3"
    assert one.target == "a lung"
    assert one.scores is not None
    assert one.scores["judge_correct@sample_judge"].value == 1.0
    assert one.scores["judge_correct@sample_judge"].explanation == "Correctness: 1"


def test_an_unscored_figure_is_no_number_and_says_why(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0), opened(2, None)])
    log = read(export_logs(ledger, KEY, tmp_path)[0])
    scores = items(log)[opened(2, None).item_id].scores
    assert scores is not None
    value = scores["judge_correct@sample_judge"].value
    assert isinstance(value, float)
    assert math.isnan(value)
    assert scores["judge_correct@sample_judge"].reason == "judge_unreadable"


def test_figures_over_all_items_are_those_of_the_scores_and_the_papers_has_none(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0), opened(2, 0.0), opened(3, None)])
    log = read(export_logs(ledger, KEY, tmp_path)[0])
    assert log.results is not None
    scores = {score.name: score for score in log.results.scores}
    mine, paper = scores["judge_correct@sample_judge"], scores["judge_correct@gpt-4o-mini"]
    assert mine.metrics["mean"].value == 0.5
    assert (mine.scored_samples, mine.unscored_samples) == (2, 1)
    assert paper.metrics == {}
    assert paper.metadata is not None
    assert paper.metadata["status"] == "locked"


def test_generated_pictures_are_part_of_the_answer(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0, generated_image=DRAWN, generated_text="so <image> it is")])
    log = read(export_logs(ledger, KEY, tmp_path)[0])
    one = items(log)[opened(1, 1.0).item_id]
    content = one.messages[1].content
    assert one.output.completion == "so [picture] it is"
    assert not isinstance(content, str)
    assert [part.type for part in content] == ["text", "image", "text"]
    assert shade(content[1]) == 60


def test_credentialed_items_stay_out_and_are_counted_unless_asked_for(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0), opened(2, 0.0, credentialed=True, reference="a secret report")])
    log = read(export_logs(ledger, KEY, tmp_path / "open")[0])
    assert items(log).keys() == {opened(1, 1.0).item_id}
    assert log.eval.metadata is not None
    assert log.eval.metadata["items_left_out"] == 1
    every = read(export_logs(ledger, KEY, tmp_path / "all", credentialed=True)[0])
    assert len(items(every)) == 2


def test_a_picture_whose_file_is_gone_is_told_in_words(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0)])
    (ledger.landing / "vqa_rad" / "a.png").unlink()
    log = read(export_logs(ledger, KEY, tmp_path)[0])
    part = items(log)[opened(1, 1.0).item_id].messages[0].content[0]
    assert isinstance(part, ContentText)
    assert "picture not here" in part.text


def test_a_viewers_list_of_items_reads_without_the_items(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0), opened(2, 0.0)])
    summaries = read_eval_log_sample_summaries(str(export_logs(ledger, KEY, tmp_path)[0]))
    assert [summary.input for summary in summaries] == ["(Image) What is shown?"] * 2
    assert all(summary.completed for summary in summaries)


def test_the_same_records_give_the_same_bytes(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0), opened(2, 0.0)])
    one, other = (export_logs(ledger, KEY, tmp_path / name)[0] for name in "ab")
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_a_models_key_stands_for_all_its_evaluations(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0)])
    assert len(export_logs(ledger, "eval/tiny", tmp_path)) == 1


@pytest.mark.parametrize("key", ["eval/tiny/slake/open", "eval/other", "vqa_rad/samples", "eval/tiny/vqa_rad/ope"])
def test_what_is_no_published_evaluation_is_refused(key: str, ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0)])
    with pytest.raises(StoreError, match="no published evaluation"):
        export_logs(ledger, key, tmp_path)


def test_a_locked_evaluation_says_why_it_has_no_log(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, [opened(1, 1.0)], Lock("VQA-RAD is not here.", "Place its files."))
    with pytest.raises(StoreError, match="VQA-RAD is not here"):
        export_logs(ledger, KEY, tmp_path)
