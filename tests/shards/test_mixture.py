"""Which samples a mixture takes, by sample id alone; and that every one is accounted for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline.arrow import samples_to_table
from medmax_pipeline.config import Adapter, Mixture, Packing, Recipe, Schedule, read_recipe
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import write_table
from medmax_pipeline.records import Sample, Turn
from medmax_pipeline.shards.mixture import Mixed, Pictures, mix
from medmax_pipeline.shards.subset import limit_edges, place
from tests.tokens.small import image_id, make_sequencer, sample

MANY = [sample(number) for number in range(400)]
CHATS = [sample(number, source="chat", kind="visual_chat") for number in range(200)]


def recipe(**changes: Any) -> Recipe:
    return Recipe(
        name="tiny",
        mixture=Mixture(required=("vqa",), optional=("chat",), **changes),
        packing=Packing(token_budget=200, max_sequences=4, max_sequence=90),
        adapter=Adapter(kind="full"),
        schedule=Schedule(epochs=1, peak_lr=1e-3),
    )


def mixed(tmp_path: Path, samples: list[Sample], pictures: Pictures | None = None, **changes: Any) -> Mixed:
    """What becomes of curated samples."""
    folders = {}
    for source in {one.source for one in samples}:
        folders[source] = tmp_path / source
        table = samples_to_table([one for one in samples if one.source == source])
        write_table(folders[source] / "samples.parquet", table)
    wanted = recipe(**changes)
    edges = limit_edges(wanted.mixture, folders)
    nothing = Pictures({}, frozenset(), {})
    return mix(samples, wanted, pictures or nothing, make_sequencer(tmp_path / "text"), edges)


def reasons(made: Mixed) -> dict[str, int]:
    assert made.counts().balanced
    return dict(made.counts().dropped)


def test_a_mixture_takes_all_that_nothing_cuts(tmp_path: Path) -> None:
    made = mixed(tmp_path, MANY + CHATS)
    assert len(made.members) == len(MANY) + len(CHATS)
    assert reasons(made) == {}


def test_smaller_subsets_are_contained_in_larger_ones(tmp_path: Path) -> None:
    quarter, half, most, whole = (
        mixed(tmp_path, MANY + CHATS, subset=share).members.keys() for share in (0.25, 0.5, 0.75, 1.0)
    )
    assert quarter < half < most < whole
    assert len(quarter) / len(whole) == pytest.approx(0.25, abs=0.06)


def test_what_a_subset_leaves_out_is_named(tmp_path: Path) -> None:
    made = mixed(tmp_path, MANY, subset=0.5)
    assert reasons(made) == {"not_in_subset": len(MANY) - len(made.members)}
    assert {drop.detail for drop in made.drops} == {"the recipe takes 50 %"}


def test_a_limit_is_met_exactly_and_cuts_its_source_alone(tmp_path: Path) -> None:
    made = mixed(tmp_path, MANY + CHATS, limit={"vqa": 150})
    assert reasons(made) == {"beyond_limit": 250}
    assert sum(member.source == "chat" for member in made.members.values()) == len(CHATS)


def test_a_smaller_limit_is_contained_in_a_larger_one(tmp_path: Path) -> None:
    few, more = (mixed(tmp_path, MANY, limit={"vqa": most}).members.keys() for most in (1, 150))
    assert few < more
    assert len(few) == 1


@pytest.mark.parametrize("most", [400, 401])
def test_a_limit_at_or_above_what_there_is_cuts_nothing(tmp_path: Path, most: int) -> None:
    assert reasons(mixed(tmp_path, MANY, limit={"vqa": most})) == {}


def test_a_limit_of_a_source_that_was_left_out_is_no_matter(tmp_path: Path) -> None:
    assert reasons(mixed(tmp_path, MANY, limit={"chat": 3})) == {}


def test_subsets_cut_evenly_through_what_a_limit_leaves(tmp_path: Path) -> None:
    limited = mixed(tmp_path, MANY, limit={"vqa": 200}).members.keys()
    both = mixed(tmp_path, MANY, limit={"vqa": 200}, subset=0.5).members.keys()
    assert both < limited
    assert len(both) == pytest.approx(100, abs=25)


def test_a_kind_that_is_left_out_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    both = [replace(one, kind="generation") if n % 2 else one for n, one in enumerate(MANY)]
    whole = mixed(tmp_path, both, limit={"vqa": 200}).members
    without = mixed(tmp_path, both, limit={"vqa": 200}, without=("generation",)).members
    assert without.keys() == {name for name, member in whole.items() if member.kind != "generation"}


def test_only_the_kinds_that_are_named_are_taken(tmp_path: Path) -> None:
    made = mixed(tmp_path, MANY + CHATS, kinds=("visual_chat",))
    assert {member.source for member in made.members.values()} == {"chat"}
    assert reasons(made) == {"kind_left_out": len(MANY)}


def test_the_choice_does_not_depend_on_other_samples_or_their_order(tmp_path: Path) -> None:
    alone = mixed(tmp_path, MANY, subset=0.3).members.keys()
    among = mixed(tmp_path, [*CHATS, *reversed(MANY)], subset=0.3).members
    assert alone == {name for name, member in among.items() if member.source == "vqa"}


def test_places_are_those_that_published_mixtures_were_made_with() -> None:
    assert place("limit", "0" * 32) == 0xF77E5FB9F84FEDCC
    assert place("subset", "0" * 32) == 0xFE9BD039A905645F


def test_a_picture_in_the_reply_is_trained_where_it_stands(tmp_path: Path) -> None:
    said = (Turn("user", "Why?"), Turn("assistant", "First words. <image> Last words."))
    written = replace(sample(1, source="chat", kind="interleaved", images=(image_id(1),)), turns=said)
    pictures = Pictures({image_id(1): "d" * 64}, frozenset(), {})
    made = mixed(tmp_path, [written], pictures)
    (member,) = made.members.values()
    sequencer = make_sequencer(tmp_path / "text")
    vocabulary = sequencer.vocabulary
    at = member.outline.ids.tolist().index(vocabulary.image_placeholder)
    (span,) = member.outline.spans
    assert span.start < at < span.end
    assert at > member.outline.ids.tolist().index(vocabulary.sep)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('kinds = ["vqa"]', r"name \['vqa'\]; kinds are captioning"),
        ('without = ["chat"]', r"name \['chat'\]"),
        ("subset = 0.0", "above 0 and at most 1"),
        ("subset = 1.5", "above 0 and at most 1"),
        ("limit = { pmc_oa = 0 }", r"limit of \['pmc_oa'\] is below 1"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused(project: Path, tmp_path: Path, line: str, message: str) -> None:
    text = (project / "configs" / "recipes" / "sample.toml").read_text()
    (tmp_path / "sample.toml").write_text(text.replace("[mixture]\n", f"[mixture]\n{line}\n"))
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "sample.toml")


SHIPPED = ("scaling_25", "scaling_50", "scaling_75", "without_vqa", "without_chat")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_papers_ablations_change_nothing_but_what_they_ablate(project: Path, name: str) -> None:
    folder = project / "configs" / "recipes"
    whole, ablated = read_recipe(folder / "medmax_7b.toml"), read_recipe(folder / f"{name}.toml")
    mixture = replace(ablated.mixture, subset=1.0, without=())
    assert replace(ablated, name="medmax_7b", mixture=mixture) == whole
    assert (ablated.mixture.subset < 1) != bool(ablated.mixture.without)
