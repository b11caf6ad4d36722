"""The sample's LLaVA-Med folder is laid out as the publisher's, and what becomes of each quirk."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from typing import Any

import pytest
from PIL import Image

from medmax_pipeline.ingest.landing import find_lock
from medmax_pipeline.sample.layouts import Pool
from medmax_pipeline.sample.layouts.llava_med import ABSENT, LAYOUT, NO_RECORD, TORN
from medmax_pipeline.sources import source
from tests.sample.conftest import Laid
from tests.sample.layouts.ingested import Ingested, ingested

SOURCES = ("llava_med_pmc", "llava_med_it", "llava_med_chat")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(laid: Laid, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ingested]:
    store = tmp_path_factory.mktemp("store")
    return {key: ingested(store, laid.landing, key) for key in SOURCES}


def records(laid: Laid, path: str) -> Rows:
    loaded: Rows = json.loads((laid.landing / "llava_med" / "data" / path).read_text())
    return loaded


@pytest.fixture(scope="module")
def alignment(laid: Laid) -> Rows:
    return records(laid, "alignment/llava_med_alignment_500k.json")


@pytest.fixture(scope="module")
def members(laid: Laid) -> dict[str, bytes]:
    with zipfile.ZipFile(laid.landing / "llava_med/images.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("key", "figures"),
    [
        (
            "llava_med_pmc",
            (7, {"duplicate_row": 1, "turn_empty": 1}, {"image_missing": 1, "image_truncated": 1}),
        ),
        ("llava_med_it", (7, {"conversation_does_not_alternate": 1}, {"image_missing": 1})),
        ("llava_med_chat", (12, {}, {"image_missing": 1})),
    ],
)
def test_every_row_is_kept_dropped_or_quarantined_by_name(
    made: dict[str, Ingested], key: str, figures: tuple[int, dict[str, int], dict[str, int]]
) -> None:
    assert made[key].figures == figures


def test_a_pointer_locks_the_variant_that_reads_it_and_no_other(laid: Laid) -> None:
    assert find_lock(source("llava_med_it"), laid.landing) is None
    lock = find_lock(source("llava_med_it", "60k"), laid.landing)
    assert lock is not None
    assert "llava_med_instruct_60k.json" in lock.reason
    assert "Git LFS" in lock.reason


def test_both_spellings_stand_in_the_files_and_both_are_kept(alignment: Rows, made: dict[str, Ingested]) -> None:
    kept = {sample.origin.row for sample in made["llava_med_pmc"].samples}
    spellings = {next(name for name in row if name.startswith("conver")) for row in alignment if row["id"] != ABSENT}
    assert spellings == {"conversations", "conversatons"}
    assert {name for number in kept for name in alignment[number] if name.startswith("conver")} == spellings


def test_a_record_without_domain_is_kept_without_modality(alignment: Rows, made: dict[str, Ingested]) -> None:
    without = [sample for sample in made["llava_med_pmc"].samples if "domain" not in alignment[sample.origin.row]]
    assert [sample.modality for sample in without] == ["", ""]


def test_marks_stand_before_and_after_the_instruction(made: dict[str, Ingested]) -> None:
    asked = [sample.turns[0].text for key in SOURCES[:2] for sample in made[key].samples]
    assert any(text.startswith("<image>") for text in asked)
    assert any(text.endswith("<image>") for text in asked)


def test_a_png_called_jpg_is_read_as_what_it_is(made: dict[str, Ingested]) -> None:
    images = made["llava_med_pmc"].images.values()
    assert {image["member"].rpartition(".")[2] for image in images} == {"jpg"}
    assert Counter(image["format"] for image in images) == {"JPEG": 5, "PNG": 2}


def test_the_list_of_urls_and_the_records_do_not_agree(laid: Laid, alignment: Rows) -> None:
    lines = (laid.landing / "llava_med/data/llava_med_image_urls.jsonl").read_text().splitlines()
    listed = {json.loads(line)["pair_id"] for line in lines}
    named = {row["id"] for row in alignment}
    assert len(named - listed) == 1
    assert NO_RECORD in listed - named


def test_figures_are_missing_and_one_has_no_record(members: dict[str, bytes], alignment: Rows) -> None:
    assert f"images/{ABSENT}.jpg" not in members
    assert ABSENT in {row["id"] for row in alignment}
    assert f"images/{NO_RECORD}.jpg" in members


def test_the_torn_figure_is_torn(members: dict[str, bytes]) -> None:
    with Image.open(io.BytesIO(members[f"images/{TORN}.jpg"])) as image, pytest.raises(OSError, match="truncated"):
        image.load()


def test_one_figure_is_chatted_about_in_two_files(made: dict[str, Ingested]) -> None:
    samples = made["llava_med_it"].samples
    assert [count for _, count in Counter(sample.images for sample in samples).items() if count > 1] == [2]
    files = {sample.origin.file.rpartition("_")[2] for sample in samples}
    assert files == {"mention.json", "10k.json"}


def test_of_two_domains_the_chat_takes_the_scorers_first(laid: Laid, made: dict[str, Ingested]) -> None:
    text = (laid.landing / "llava_med/data/eval/llava_med_eval_qa50_qa.jsonl").read_text()
    doubled = [number for number, line in enumerate(text.splitlines()) if line.count("true") == 2]
    assert doubled
    for sample in made["llava_med_chat"].samples:
        if sample.origin.row in doubled:
            assert sample.modality == "histology"
            assert json.loads(sample.extra)["domains"] == ["histology", "gross"]


def test_mentions_are_objects_strings_and_null(laid: Laid, made: dict[str, Ingested]) -> None:
    rows = (laid.landing / "llava_med/data/eval/llava_med_eval_qa50_qa.jsonl").read_text().splitlines()
    mentions = [json.loads(row)["in_text_mention"] for row in rows]
    assert {type(value[0]) if value else None for value in mentions} == {dict, str, None}
    for sample in made["llava_med_chat"].samples:
        assert ("Mentioned in the text:" in sample.context) == (mentions[sample.origin.row] is not None)


def test_both_forms_of_the_evaluation_are_there_and_all_of_it_is_eval(made: dict[str, Ingested]) -> None:
    samples = made["llava_med_chat"].samples
    assert Counter(sample.answer_type for sample in samples) == {"conversation": 6, "detailed_description": 6}
    assert {sample.split for sample in samples} == {"eval"}


def test_the_planted_leak_shows_an_evaluation_picture_in_other_bytes(laid: Laid, made: dict[str, Ingested]) -> None:
    [leak] = [each for each in laid.report.placed if each.source == "llava_med" and each.planted == "leak"]
    [shown] = [each for each in laid.report.placed if each.source == "vqa_rad" and each.name == leak.name]
    assert (shown.split, leak.split) == ("eval", "train")
    assert leak.image_id != shown.image_id
    assert leak.image_id in made["llava_med_pmc"].images


def test_without_pictures_the_files_are_there_and_empty() -> None:
    tree = LAYOUT.lay(Pool((), ()))
    assert json.loads(tree.files["data/instruct/llava_med_instruct_10k.json"]) == []
    assert not tree.placed
