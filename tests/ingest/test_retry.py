"""`medmax retry`: after the cause is mended, counts move from quarantine to kept, and nothing good is opened again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from medmax_pipeline import cli
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import write_text
from medmax_pipeline.ingest import samples
from medmax_pipeline.ingest.places import Files, Place
from medmax_pipeline.ingest.retry import Retried, retry, to_json, to_text
from medmax_pipeline.ingest.steps import raw_step, samples_step
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.records import Counts
from medmax_pipeline.sources import source
from medmax_pipeline.steps import Need, Outcome, Run, Step
from tests.ingest.landings import lay_pmc_oa, lay_vqa_rad, picture, question

WHOLE = picture(9, "JPEG", (64, 64))
IMAGES = "VQA_RAD Image Folder"


def quiet(line: str) -> None:
    """Takes a line and drops it."""


def no_launch(arguments: Sequence[str], *, state: Path | None = None) -> None:
    raise AssertionError(f"nothing here launches {arguments}")


def steps_of(*keys: str) -> list[Step]:
    return [step for key in keys for step in (raw_step(source(key), corpus=False), samples_step(source(key)))]


class Bench:
    """Two sources, one of them with a torn and an absent picture; all steps made once."""

    def __init__(self, folder: Path, more: Sequence[Step] = ()) -> None:
        landing = folder / "landing"
        pictures = {"a.jpg": picture(1, "JPEG"), "b.jpg": picture(2, "JPEG"), "torn.jpg": WHOLE[:300]}
        names = ["a.jpg", "b.jpg", "torn.jpg", "torn.jpg", "absent.jpg"]
        self.images = lay_vqa_rad(landing, [question(at, name) for at, name in enumerate(names)], pictures) / IMAGES
        row = {"image": "PMC1_Fig1_1.jpg", "caption": "A knee."}
        lay_pmc_oa(landing, [row], {"PMC1_Fig1_1.jpg": picture(3)})
        self.ledger = Ledger(folder / "store", "test", landing)
        self.steps = [*steps_of("vqa_rad", "pmc_oa"), *more]
        for step in self.steps:
            self.ledger.execute(step)

    def retry(self, *sources: str) -> list[Retried]:
        return retry(self.ledger, self.steps, sources, quiet, no_launch)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_mended_picture_moves_its_rows_from_quarantine_to_kept(bench: Bench) -> None:
    (bench.images / "torn.jpg").write_bytes(WHOLE)
    (found,) = bench.retry()
    assert found.key == "vqa_rad/samples"
    assert (found.before.kept, found.before.quarantined) == (2, {"image_missing": 1, "image_truncated": 2})
    assert found.after is not None
    assert (found.after.kept, found.after.quarantined) == (4, {"image_missing": 1})
    assert found.changed
    assert bench.ledger.need("vqa_rad/samples").manifest.counts == found.after


def test_only_the_quarantined_picture_is_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    class Watched(Files):
        def read(self, place: Place, limit: int) -> bytes:
            opened.append(place.file)
            return super().read(place, limit)

    monkeypatch.setattr(samples, "Files", Watched)
    (bench.images / "torn.jpg").write_bytes(WHOLE)
    bench.retry()
    assert opened == [f"{IMAGES}/torn.jpg"]


def test_a_picture_that_came_late_is_found(bench: Bench) -> None:
    (bench.images / "absent.jpg").write_bytes(picture(5, "JPEG"))
    (found,) = bench.retry()
    assert found.after is not None
    assert found.after.quarantined == {"image_truncated": 2}


def test_where_nothing_was_mended_nothing_downstream_would_run(bench: Bench) -> None:
    old = bench.ledger.need("vqa_rad/samples").manifest
    (found,) = bench.retry()
    new = bench.ledger.need("vqa_rad/samples").manifest
    assert (found.after, found.changed) == (found.before, False)
    assert (new.digest, new.counter) == (old.digest, old.counter + 1)
    assert [item.action for item in bench.ledger.plan(bench.steps)] == ["reuse"] * 4


def test_a_source_without_quarantine_is_not_touched(bench: Bench) -> None:
    assert bench.retry("pmc_oa") == []
    assert bench.ledger.counter("pmc_oa/samples") == 0


def test_a_source_that_the_build_lacks_is_named(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="slake: no source of this build; it has vqa_rad, pmc_oa"):
        bench.retry("slake")


def test_a_source_whose_files_went_away_is_left_as_it_is(bench: Bench) -> None:
    (bench.images.parent / "VQA_RAD Dataset Public.json").unlink()
    (found,) = bench.retry()
    assert found.after is None
    assert "its files are not all here" in found.note
    assert bench.ledger.need("vqa_rad/samples").manifest.counts == found.before


def codes_step(fault: Path) -> Step:
    """Stands where the encoding does: one picture fails as long as `fault` exists."""

    def run(ctx: Run) -> Outcome:
        failed = int(fault.exists())
        write_text(ctx.out / "codes", f"{failed}")
        return Outcome(Counts(2, 2 - failed, quarantined={"image_refused": 1} if failed else {}))

    return Step("image_codes", run, "1", (Need("vqa_rad/samples"), Need("pmc_oa/samples")))


def test_codes_are_tried_again_once_the_samples_stand(tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    bench = Bench(tmp_path, [codes_step(fault)])
    fault.unlink()
    samples_again, codes = bench.retry()
    assert not samples_again.changed
    assert codes.after == Counts(2, 2)
    assert codes.changed


def test_codes_wait_for_the_next_build_where_samples_changed(tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    bench = Bench(tmp_path, [codes_step(fault)])
    (bench.images / "torn.jpg").write_bytes(WHOLE)
    _, codes = bench.retry()
    assert codes.after is None
    assert codes.note == "tried again by the next build, since vqa_rad/samples changed"


def test_people_read_what_moved_and_which_command_follows() -> None:
    before = Counts(12, 8, {"answer_empty": 1}, {"image_truncated": 2, "image_missing": 1})
    after = Counts(12, 10, {"answer_empty": 1}, {"image_missing": 1})
    assert to_text([Retried("a/samples", before, after, True)], "build it") == [
        "a/samples: kept 8 -> 10 (+2)",
        "  image_missing           1 -> 1  unchanged",
        "  image_truncated         2 -> 0",
        "",
        "What stands on the changed samples or codes is made again by: build it",
    ]
    assert "no step that reads them would run" in to_text([Retried("a/samples", before, before, False)], "")[-1]
    assert to_text([], "") == ["Nothing is quarantined: there is nothing to retry."]


def test_machines_read_counts_before_and_after() -> None:
    before = Counts(3, 2, {}, {"image_missing": 1})
    line = to_json(Retried("a/samples", before, None, False, "left as it is"))
    assert json.loads(json.dumps(line)) == {
        "key": "a/samples",
        "before": {"in": 3, "kept": 2, "dropped": {}, "quarantined": {"image_missing": 1}},
        "after": None,
        "changed": False,
        "note": "left as it is",
    }


def test_the_command_retries_a_builds_own_sources(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path)
    configs = project / "configs"
    text = (configs / "sample.toml").read_text().replace('corpus = "sample"', 'corpus = "none"')
    write_text(tmp_path / "test.toml", text.replace('name = "sample"', 'name = "test"', 1))
    write_text(tmp_path / "recipes" / "sample.toml", (configs / "recipes" / "sample.toml").read_text())
    monkeypatch.setenv("MEDMAX_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MEDMAX_LANDING", str(tmp_path / "landing"))
    (bench.images / "torn.jpg").write_bytes(WHOLE)
    config = str(tmp_path / "test.toml")
    assert cli.main(["retry", "vqa_rad", "--config", config]) == 0
    told = capsys.readouterr()
    assert "vqa_rad/samples: kept 2 -> 4 (+2)" in told.out
    assert f"MEDMAX_CONFIG={config} dagster job execute" in told.out
    assert "3 pictures are named, 1 of them were opened now" in told.err
    assert cli.main(["retry", "--json", "--config", config]) == 0
    assert json.loads(capsys.readouterr().out)["after"]["quarantined"] == {"image_missing": 1}
