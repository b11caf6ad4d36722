"""The order of ids, loss spans, and the way back."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmax_pipeline.errors import TokenError
from medmax_pipeline.records import Turn
from medmax_pipeline.tokens.sequence import Sequencer
from tests.tokens.small import CODES, N, make_sequencer, random_codes

CODE_LISTS = st.lists(st.integers(0, CODES - 1), min_size=N, max_size=N)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: "<image>" not in text
)
SAID = st.lists(st.tuples(TEXT, CODE_LISTS), max_size=2).flatmap(lambda parts: st.tuples(st.just(parts), TEXT))


@pytest.fixture(scope="module")
def sequencer(tmp_path_factory: pytest.TempPathFactory) -> Sequencer:
    return make_sequencer(tmp_path_factory.mktemp("text"))


def ask(question: str, reply: str) -> tuple[Turn, Turn]:
    return Turn("user", question), Turn("assistant", reply)


def image(sequencer: Sequencer, codes: npt.NDArray[np.int64]) -> list[int]:
    return [sequencer.vocabulary.boi, *(codes + 4).tolist(), sequencer.vocabulary.eoi]


def text(sequencer: Sequencer, said: str) -> list[int]:
    return [int(number) for number in sequencer.text.encode(said)]


def test_one_turn_is_begin_prompt_separator_reply_end(sequencer: Sequencer) -> None:
    codes = random_codes(1)
    made = sequencer.sequence(ask("<image>Is it?", "yes"), [codes])
    prompt = [0, *image(sequencer, codes), *text(sequencer, "Is it?"), sequencer.vocabulary.sep]
    assert made.ids.dtype == np.uint16
    assert made.ids.tolist() == [*prompt, *text(sequencer, "yes"), 2]
    assert made.spans == ((len(prompt), len(prompt) + 4),)


def test_generated_image_lies_in_the_span(sequencer: Sequencer) -> None:
    codes = random_codes(2)
    made = sequencer.sequence(ask("draw", "<image>"), [codes])
    (span,) = made.spans
    assert made.ids[span.start : span.end].tolist() == [*image(sequencer, codes), 2]


def test_every_reply_of_a_chat_is_trained_and_no_user_turn(sequencer: Sequencer) -> None:
    codes = [random_codes(3), random_codes(4)]
    made = sequencer.sequence([*ask("<image>a", "b"), *ask("c<image>", "dd")], codes)
    sep = sequencer.vocabulary.sep
    first = [0, *image(sequencer, codes[0]), *text(sequencer, "a"), sep, *text(sequencer, "b"), 2]
    second = [*text(sequencer, "c"), *image(sequencer, codes[1]), sep, *text(sequencer, "dd"), 2]
    assert made.ids.tolist() == first + second
    assert [made.ids[start:end].tolist() for start, end in made.spans] == [
        [*text(sequencer, "b"), 2],
        [*text(sequencer, "dd"), 2],
    ]


@settings(max_examples=60)
@given(st.lists(SAID, min_size=2, max_size=6).filter(lambda said: len(said) % 2 == 0))
def test_turns_and_codes_come_back(sequencer: Sequencer, said: list[tuple[list[tuple[str, list[int]]], str]]) -> None:
    turns = []
    codes = []
    for index, (parts, last) in enumerate(said):
        turns.append(Turn(("user", "assistant")[index % 2], "".join(f"{one}<image>" for one, _ in parts) + last))
        codes += [np.array(shown) for _, shown in parts]
    made = sequencer.sequence(turns, codes)
    found = sequencer.to_turns(made.ids)
    assert found.turns == tuple(turns)
    assert [shown.tolist() for shown in found.codes] == [shown.tolist() for shown in codes]
    assert len(made.ids) == sequencer.outline(turns).length(sequencer.vocabulary)


def test_prompt_is_the_head_of_the_sequence(sequencer: Sequencer) -> None:
    turns = [*ask("<image>a", "b"), *ask("c", "d")]
    codes = [random_codes(5)]
    whole = sequencer.sequence(turns, codes)
    prompt = sequencer.prompt(turns[:3], codes)
    assert prompt.tolist() == whole.ids[: whole.spans[1].start].tolist()


def test_prompt_of_a_text_that_goes_on_lacks_the_last_separator_alone(sequencer: Sequencer) -> None:
    turns = [*ask("<image>a", "b"), Turn("user", "c")]
    codes = [random_codes(5)]
    whole = sequencer.prompt(turns, codes)
    assert sequencer.prompt(turns, codes, end_of_turn=False).tolist() == whole[:-1].tolist()
    drawn = sequencer.prompt([Turn("user", "c")], [], image_next=True, end_of_turn=False)
    assert sequencer.vocabulary.sep not in drawn
    assert drawn[-1] == sequencer.vocabulary.boi


def test_prompt_for_an_image_ends_with_its_begin(sequencer: Sequencer) -> None:
    prompt = sequencer.prompt([Turn("user", "draw")], [], image_next=True)
    assert prompt[-2:].tolist() == [sequencer.vocabulary.sep, sequencer.vocabulary.boi]


def test_prompt_that_ends_with_a_reply_is_refused(sequencer: Sequencer) -> None:
    with pytest.raises(TokenError, match="ending with the user"):
        sequencer.prompt(ask("a", "b"), [])


def test_answer_of_a_model_comes_back_as_text_and_codes(sequencer: Sequencer) -> None:
    codes = random_codes(6)
    said, shown = sequencer.to_text(np.array([*text(sequencer, "see"), *image(sequencer, codes)]))
    assert said == "see<image>"
    assert shown[0].tolist() == codes.tolist()


@pytest.mark.parametrize(
    "turns",
    [(), (Turn("user", "a"),), (Turn("assistant", "a"), Turn("user", "b")), (Turn("user", "a"), Turn("user", "b"))],
)
def test_turns_that_do_not_alternate_are_refused(sequencer: Sequencer, turns: Seq[Turn]) -> None:
    with pytest.raises(TokenError, match="turns are"):
        sequencer.sequence(turns, [])


def test_marks_without_codes_are_refused(sequencer: Sequencer) -> None:
    with pytest.raises(TokenError, match="1 <image> marks, but codes of 0"):
        sequencer.sequence(ask("<image>", "b"), [])


@pytest.mark.parametrize("codes", [[0] * (N - 1), [0] * (N + 1), [CODES] * N, [-1] * N])
def test_codes_that_are_no_image_are_refused(sequencer: Sequencer, codes: list[int]) -> None:
    with pytest.raises(TokenError, match="codes"):
        sequencer.sequence(ask("<image>", "b"), [np.array(codes)])


def test_ids_that_are_no_sequence_are_refused(sequencer: Sequencer) -> None:
    ids = sequencer.sequence(ask("<image>a", "b"), [random_codes(7)]).ids.tolist()
    sep = ids.index(sequencer.vocabulary.sep)
    broken = [ids[1:], ids[:-1], [*ids[:3], *ids[4:]], [*ids[:sep], 2, *ids[sep + 1 :]], [*ids, 2], [], [0, 2]]
    for wrong in broken:
        with pytest.raises(TokenError):
            sequencer.to_turns(np.array(wrong))


def test_placeholder_in_a_text_stays_text_when_spelled_otherwise(sequencer: Sequencer, tmp_path: Path) -> None:
    said = "<reserved08707> <racm3:break>"
    assert sequencer.to_turns(sequencer.sequence(ask(said, "b"), []).ids).turns[0].text == said
