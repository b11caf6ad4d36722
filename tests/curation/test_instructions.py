"""Which way pairs are turned, in whose words samples are asked for, and how questions are answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmax_pipeline.curation.instructions import Formatter, McqAnswer, forms, position
from medmax_pipeline.curation.phrases import OF_PICTURES, OF_TEXTS, TEXT, read_templates
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.records import Kind, Sample, Turn
from medmax_pipeline.sources.choices import lettered
from tests.curation.published import sample

MANY = [sample(str(number), "p") for number in range(2000)]
TEMPLATES = read_templates("v1")


def formed(
    item: Sample,
    generation: float = 0.0,
    radiograph: float = 0.0,
    asked: float = 1.0,
    mcq: McqAnswer = "letter",
    placeholder: str = "",
) -> Sample:
    return Formatter(forms(generation, radiograph), TEMPLATES, asked, mcq, placeholder)(item)


def test_a_turned_caption_asks_for_its_picture_and_keeps_its_id() -> None:
    before = MANY[0]
    after = formed(before, generation=1.0)
    assert after.kind == "generation"
    assert after.turns == (Turn("user", "A knee."), Turn("assistant", "<image>"))
    assert (after.sample_id, after.images) == (before.sample_id, before.images)


def test_a_turned_report_becomes_a_radiograph() -> None:
    report = sample("r", "p", kind="report_generation")
    assert formed(report, radiograph=1.0).kind == "radiograph_generation"
    assert formed(report, generation=1.0) == report


@pytest.mark.parametrize(
    "kind", ["vqa_closed", "vqa_open", "vqa_mcq", "visual_chat", "generation", "radiograph_generation", "interleaved"]
)
@pytest.mark.parametrize("asked", [0.0, 1.0])
def test_what_the_source_asks_itself_stays_word_for_word(kind: Kind, asked: float) -> None:
    item = sample("v", "p", kind=kind)
    assert formed(item, 1.0, 1.0, asked, placeholder="Describe.") == item


@pytest.mark.parametrize("share", [0.0, 0.16, 0.5, 1.0])
def test_the_share_is_met(share: float) -> None:
    turned = sum(formed(item, generation=share).kind == "generation" for item in MANY)
    assert turned / len(MANY) == pytest.approx(share, abs=0.03 if 0 < share < 1 else 0)


def test_a_larger_share_turns_the_same_samples_and_more() -> None:
    small, large = (
        {item.sample_id for item in MANY if formed(item, generation=share).kind == "generation"} for share in (0.2, 0.6)
    )
    assert small < large


@given(st.text(alphabet="0123456789abcdef", min_size=32, max_size=32))
def test_a_position_is_a_share(sample_id: str) -> None:
    assert 0 <= position(sample_id) < 1


def test_positions_are_those_that_published_sets_were_made_with() -> None:
    assert position("0" * 32) == pytest.approx(0.616978985697, abs=1e-9)


def test_an_adapters_placeholder_gives_way_to_a_phrase_before_which_the_picture_stands() -> None:
    said = {formed(item, asked=0.0, placeholder="Describe.").turns[0].text for item in MANY}
    assert said == {f"<image>{phrase}" for phrase in TEMPLATES.forms["captioning"].phrases}
    assert {formed(item, asked=0.0, placeholder="Describe.").turns[1] for item in MANY} == {MANY[0].turns[1]}


def test_a_caption_that_is_asked_for_in_other_words_than_the_placeholder_keeps_them() -> None:
    assert formed(MANY[0], asked=0.0, placeholder="Please describe.") == MANY[0]


def test_phrases_depend_on_the_id_alone() -> None:
    first = [formed(item, generation=0.5, asked=0.3, placeholder="Describe.") for item in MANY]
    again = [formed(item, generation=0.5, asked=0.3, placeholder="Describe.") for item in reversed(MANY)]
    assert first == again[::-1]
    other = replace(MANY[0], answer="B", context="another", licence="X", source="elsewhere")
    assert (
        formed(other, asked=0.0, placeholder="Describe.").turns
        == formed(MANY[0], asked=0.0, placeholder="Describe.").turns
    )


def test_the_share_that_is_asked_as_evaluated_is_met_and_grows_by_inclusion() -> None:
    asked = TEMPLATES.forms["captioning"].asked

    def as_evaluated(share: float) -> set[str]:
        return {item.sample_id for item in MANY if TEMPLATES.phrase("captioning", item.sample_id, share) == asked}

    assert len(as_evaluated(0.5)) / len(MANY) == pytest.approx(0.5, abs=0.04)
    assert as_evaluated(0.2) < as_evaluated(0.5) < as_evaluated(1.0)
    assert not as_evaluated(0.0)


def test_a_caption_that_looks_like_a_template_is_quoted_once() -> None:
    item = replace(MANY[0], turns=(MANY[0].turns[0], Turn("assistant", "{text} {0} %s")))
    for asked in (0.0, 1.0):
        assert formed(item, generation=1.0, asked=asked).turns[0].text.count("{text} {0} %s") == 1


MCQ = replace(
    sample("m", "p", kind="vqa_mcq", said="B"),
    turns=(Turn("user", f"<image>{lettered('Where?', ('Knee', 'Hip'))}"), Turn("assistant", "B")),
    options=("Knee", "Hip"),
    answer="B",
)


def test_a_choice_is_asked_a_line_an_option_and_answered_as_the_evaluation_reads_it() -> None:
    assert formed(MCQ).turns == (Turn("user", "<image>Where?\nA: Knee\nB: Hip"), Turn("assistant", "B"))


def test_a_choice_may_be_answered_with_letter_and_text() -> None:
    after = formed(MCQ, mcq="option")
    assert after.turns == (MCQ.turns[0], Turn("assistant", "B: Hip"))
    assert after.answer == "B"


@pytest.mark.parametrize("said", ["C", "", "hip", "b"])
def test_an_answer_that_is_no_letter_of_the_options_stays(said: str) -> None:
    item = replace(MCQ, turns=(MCQ.turns[0], Turn("assistant", said)))
    assert formed(item, mcq="option") == item


def test_the_shipped_set_has_several_phrases_for_what_sources_do_not_ask() -> None:
    for kind in (*OF_PICTURES, "generation", "radiograph_generation"):
        phrases = TEMPLATES.forms[kind].phrases
        assert len({*phrases}) == len(phrases) >= 5
    assert {kind for kind in TEMPLATES.forms if TEXT in TEMPLATES.forms[kind].asked} == {*OF_TEXTS}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('asked = "{text}"', 'asked = "draw"', "holds {text} 0 times, expected 1"),
        ('asked = "Please describe this picture."', 'asked = "{text}"', "holds {text} 1 times, expected 0"),
        ('"What does this image show?"', '"<image> What?"', "without <image>"),
        ('"What does this image show?"', "7", "7 is no phrase"),
        ("[vqa_mcq]", "[vqa_mcqs]", "vqa_mcq, vqa_mcqs missing or unknown"),
        ("[vqa_mcq]", "[vqa_mcq", "not readable as TOML"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    from medmax_pipeline.curation import phrases

    text = (phrases.FOLDER / "v1.toml").read_text()
    assert old in text
    (tmp_path / "odd.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        read_templates("odd", tmp_path)
    assert message in str(error.value)


def test_a_set_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="sets in curation/templates/ are v1"):
        read_templates("../v1")
