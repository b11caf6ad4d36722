"""The engine: texts in and out, every prompt with its own options, replies of text and pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.task import Decoding
from medmax_pipeline.records import Turn

Ids = npt.NDArray[np.uint16]
DRAWN = Decoding(max_new_tokens=6, temperature=0.7, top_p=0.9, cfg_text=3.0, cfg_image=1.2, max_images=2)


@pytest.fixture
def prompts(engine: Engine) -> list[Ids]:
    """Three questions on one picture, and one without a picture."""
    codes = np.random.default_rng(1).integers(0, engine.vocabulary.codebook_size, engine.vocabulary.codes_per_image)
    asked = ["is this a chest radiograph?", "is there an effusion?", "a lymph node"]
    shown = [engine.sequencer.prompt((Turn("user", f"<image>{text}"),), [codes]) for text in asked]
    return [*shown, engine.sequencer.prompt((Turn("user", "is this a chest"),), [])]


def test_every_prompt_has_its_own_options(engine: Engine, prompts: list[Ids]) -> None:
    options = [["yes", "no"], ["no"], ["chest radiograph", "yes", "no"], ["yes"]]
    found = engine.choose(prompts, options, 4)
    assert [len(each.logprobs) for each in found] == [2, 1, 3, 1]
    for prompt, choices, each in zip(prompts, options, found, strict=True):
        (alone,) = engine.choose([prompt], [choices], 4)
        assert alone.logprobs == pytest.approx(each.logprobs, abs=1e-4)
        assert (alone.reply, alone.first_token) == (each.reply, each.first_token)
        assert max(each.logprobs) < 0


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_the_penalty_bears_on_the_first_token_and_not_on_the_reply(
    engine: Engine, prompts: list[Ids], penalty: float
) -> None:
    found = engine.choose(prompts, [["yes"]] * 4, 8, penalty)
    assert [each.first_token for each in found] == engine.replies(prompts, 1, penalty)
    assert [each.reply for each in found] == engine.replies(prompts, 8)


def test_nothing_asked_is_nothing_found(engine: Engine) -> None:
    assert engine.choose([], [], 8) == []


def test_likelihood_of_an_id_is_that_of_the_option_it_spells(engine: Engine, prompts: list[Ids]) -> None:
    (number,) = engine.sequencer.text.encode("yes").tolist()
    found = engine.choose(prompts, [["yes"]] * 4, 1)
    assert engine.next_logprob(prompts, number) == pytest.approx([each.logprobs[0] for each in found], abs=1e-4)


def test_interleaved_replies_are_texts_and_pictures(engine: Engine, prompts: list[Ids]) -> None:
    weight = engine.model.lm_head.weight.data
    kept = weight.clone()
    try:
        weight[engine.vocabulary.boi] *= 20.0
        replies = engine.interleaved(prompts, [1, 2, 3, 4], DRAWN)
        alone = [
            engine.interleaved([prompt], [seed], DRAWN)[0] for prompt, seed in zip(prompts, (1, 2, 3, 4), strict=True)
        ]
    finally:
        weight.copy_(kept)
    pictures = [part for reply in replies for part in reply.parts if not isinstance(part, str)]
    assert pictures
    assert all(part.shape == (engine.vocabulary.codes_per_image,) for part in pictures)
    assert engine.pixels(np.stack(pictures)).shape[0] == len(pictures)
    for reply, single in zip(replies, alone, strict=True):
        assert reply.ended == single.ended
        assert [part if isinstance(part, str) else part.tolist() for part in reply.parts] == [
            part if isinstance(part, str) else part.tolist() for part in single.parts
        ]
        assert all(part != "" for part in reply.parts if isinstance(part, str))


def test_without_a_picture_in_the_budget_an_interleaved_reply_is_the_text(engine: Engine, prompts: list[Ids]) -> None:
    replies = engine.interleaved(prompts, [0] * 4, Decoding(max_new_tokens=6))
    texts = engine.replies(prompts, 6)
    assert ["".join(part for part in reply.parts if isinstance(part, str)) for reply in replies] == texts
