"""What holds for every source; a new file in sources/ is covered by existing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.ingest.samples import adapt_row
from medmax_pipeline.records import KINDS, Draft, check_draft, sample_id
from medmax_pipeline.sources import SOURCES, read_registry, source
from medmax_pipeline.sources.record import Row, Source

RECORDS = {
    key + (f"-{name}" if name else ""): record
    for key, source_ in SOURCES.items()
    for name, record in {"": source_, **source_.variants}.items()
}
"""Every source and every variant of one."""
EACH = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())


def drafts(record: Source) -> list[Draft]:
    units = adapt_row(record, Row("example", 0, record.example))
    return [unit.made for unit in units if isinstance(unit.made, Draft)]


@EACH
def test_the_example_adapts_to_valid_drafts(record: Source) -> None:
    made = drafts(record)
    assert made, f"sources/{record.key}.py: its example must become at least one draft"
    for draft in made:
        check_draft(draft)
        assert draft.kind in KINDS
        assert draft.key


@EACH
def test_the_example_gives_the_same_ids_twice(record: Source) -> None:
    first, second = ([sample_id(record.key, draft, ("0" * 64,)) for draft in drafts(record)] for _ in range(2))
    assert first == second


@EACH
def test_the_adapter_leaves_its_row_alone(record: Source) -> None:
    row = dict(record.example)
    record.adapt(row)
    assert row == record.example


@EACH
def test_licence_counts_and_access_say_where_they_come_from(record: Source) -> None:
    assert record.licence.name
    assert record.licence.page.startswith("https://")
    assert re.match(r"\d{4}-\d{2}-\d{2}", record.licence.read)
    assert record.row_count.origin
    assert record.image_count.origin
    assert record.access.page.startswith("https://")
    assert record.access.how.endswith(".")


@EACH
def test_what_can_be_fetched_says_from_where(record: Source) -> None:
    if record.access.kind == "hub":
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", record.access.repo)
        assert re.fullmatch(r"[0-9a-f]{40}|main", record.access.revision), "a commit, or the branch to pin one of"
    for item in record.files:
        assert bool(item.url) == bool(item.sha256), f"{item.path}: a URL and the digest of its bytes go together"
        if item.url:
            assert item.url.startswith("https://")
            assert re.fullmatch(r"[0-9a-f]{64}", item.sha256)


@EACH
def test_a_variant_is_the_same_source_with_other_files_or_rows(record: Source) -> None:
    original = SOURCES[record.key]
    assert (record.licence, record.credentialed, record.folder) == (
        original.licence,
        original.credentialed,
        original.folder,
    )


@EACH
def test_the_splits_of_the_example_are_among_those_the_source_declares(record: Source) -> None:
    assert {draft.split for draft in drafts(record)} <= set(record.splits)


@EACH
def test_the_pictures_of_the_example_lie_where_pictures_are_expected(record: Source) -> None:
    from medmax_pipeline.ingest.landing import pattern

    places = [pattern(item.path) for item in record.files if item.pictures]
    assert places
    for draft in drafts(record):
        for ref in draft.images:
            assert ref.member if not ref.file else any(place.fullmatch(ref.file) for place in places), ref


def test_sources_are_sorted_and_frozen() -> None:
    assert list(SOURCES) == sorted(SOURCES)
    with pytest.raises(TypeError):
        SOURCES["new"] = SOURCES["vqa_rad"]  # type: ignore[index]


def test_an_unknown_key_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'vqarad': no such source.*vqa_rad"):
        source("vqarad")


def copy_of_vqa_rad(folder: Path, name: str, key: str) -> None:
    text = (Path(__file__).parents[2] / "medmax_pipeline" / "sources" / "vqa_rad.py").read_text()
    (folder / f"{name}.py").write_text(text.replace('key="vqa_rad"', f'key="{key}"'))


def test_a_new_file_is_a_new_source(tmp_path: Path) -> None:
    copy_of_vqa_rad(tmp_path, "slake_like", "slake_like")
    found = read_registry(tmp_path, "registry_new_file")
    assert list(found) == ["slake_like"]
    assert drafts(found["slake_like"])


def test_a_key_that_is_not_the_files_name_is_refused(tmp_path: Path) -> None:
    copy_of_vqa_rad(tmp_path, "slake_like", "slake")
    with pytest.raises(ConfigError, match=r"sources/slake_like.py: its key is 'slake'"):
        read_registry(tmp_path, "registry_wrong_key")


def test_a_module_without_a_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "forgotten.py").write_text("SOURCE = None\n")
    with pytest.raises(ConfigError, match=r"sources/forgotten.py: no SOURCE"):
        read_registry(tmp_path, "registry_no_record")
