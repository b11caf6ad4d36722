"""The assets of a tuned tokenizer: what is tuned on, what is said of it, when it is locked, how a build names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from medmax_pipeline import config, graph
from medmax_pipeline.config import Settings, TokenizerTuning, Weights
from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import read_json, sha256_bytes
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models.weights import tokenizer_digest
from medmax_pipeline.records import Sample
from medmax_pipeline.steps import Artifact, Step
from medmax_pipeline.tokens import PREPROCESSING
from medmax_pipeline.training.tokenizer.__main__ import main
from medmax_pipeline.training.tokenizer.steps import BASE, tuned_step, untuned_step
from tests.tokens.line import Line
from tests.tokens.small import sample, write_vqgan
from tests.training.tokenizer.conftest import drawn, tuning_of

FILES = [drawn(number) for number in range(26)]
IDS = [sha256_bytes(data) for data in FILES]


@dataclass
class TunedLine(Line):
    """The line up to curated samples, with an untuned tokenizer; tuning runs in this process."""

    jobs: list[dict[str, Any]] = field(default_factory=list)

    def steps(self) -> list[Step]:
        made = super().steps()
        return [replace(step, key=BASE) if step.key == "image_tokenizer" else step for step in made]

    def launch(self, arguments: Sequence[str], *, state: Path | None = None) -> None:
        self.launched.append(list(arguments))
        assert arguments[0] == "medmax_pipeline.training.tokenizer"
        self.jobs.append(read_json(Path(arguments[1])))
        assert main(list(arguments[1:])) == 0


def rows(source: str, numbers: range, **changes: Any) -> list[Sample]:
    """A sample for each picture."""
    return [sample(number, images=(IDS[number],), source=source, **changes) for number in numbers]


@pytest.fixture
def line(tmp_path: Path) -> TunedLine:
    """Two sources: 20 open pictures, 2 that are also evaluated; 4 credentialed ones."""
    write_vqgan(tmp_path / "weights" / "vqgan")
    (tmp_path / "weights" / "text").mkdir()
    samples = {
        "open": [*rows("open", range(22)), *rows("open", range(20, 22), split="eval")],
        "secret": rows("secret", range(22, 26), credentialed=True),
    }
    return TunedLine(tmp_path / "weights", samples, {"open": FILES[:22], "secret": FILES[22:]})


def tuned(tuning: TokenizerTuning, *sources: str) -> Step:
    return tuned_step(Weights(kind="finetuned", name="sample", tuning=tuning), sources, sources)


def made(line: TunedLine, store: Path, tuning: TokenizerTuning) -> Artifact:
    """The tuned tokenizer of the line."""
    _, artifacts = line.run(store, [tuned(tuning, *line.samples)])
    return artifacts["image_tokenizer"]


def test_gain_warning_and_changed_codes_are_told(line: TunedLine, store: Path) -> None:
    artifact = made(line, store, tuning_of(epochs=10.0))
    summary = artifact.manifest.summary
    assert summary["psnr_gain_db"] > 0  # type: ignore[operator]
    assert 0 < summary["codes_changed"] <= 1  # type: ignore[operator]
    assert "lost about 3 % on questions" in str(summary["warning"])
    assert str(summary["perceptual term"]).startswith("omitted")
    assert {"model.safetensors", "card.json", "log/reconstruction.png"} <= {e.path for e in artifact.manifest.files}


def test_evaluation_and_credentialed_pictures_are_never_tuned_on(line: TunedLine, store: Path) -> None:
    artifact = made(line, store, tuning_of())
    counts = artifact.manifest.counts
    assert (counts.taken, counts.kept) == (26, 18)
    assert counts.dropped == {"credentialed_not_admitted": 4, "evaluation_picture": 2, "held_out": 2}
    assert not artifact.manifest.credentialed
    assert artifact.manifest.licences == ("Apache-2.0", "CC0-1.0")


def test_admitted_credentialed_pictures_make_credentialed_weights(line: TunedLine, store: Path) -> None:
    artifact = made(line, store, tuning_of(admit_credentialed=True))
    assert artifact.manifest.credentialed
    assert artifact.manifest.counts.dropped == {"evaluation_picture": 2, "held_out": 2}
    assert "PhysioNet" in artifact.manifest.licences


def test_a_locked_source_is_left_out_and_named(line: TunedLine, store: Path) -> None:
    artifact = made(replace(line, locked=["secret"]), store, tuning_of())
    assert artifact.manifest.summary["left_out"] == ["secret"]
    assert artifact.manifest.counts.taken == 22


def test_nothing_to_tune_on_is_said(line: TunedLine, store: Path) -> None:
    with pytest.raises(ConfigError, match=r"no picture to tune on.*open, secret"):
        made(replace(line, locked=["open", "secret"]), store, tuning_of())


def test_tuned_codes_have_a_tokenizer_digest_of_their_own(line: TunedLine, store: Path) -> None:
    artifact = made(line, store, tuning_of())
    digests = {tokenizer_digest(f, preprocessing=PREPROCESSING) for f in (line.weights / "vqgan", artifact.folder)}
    assert len(digests) == 2


def test_the_tuning_decides_whether_it_runs_again_and_checkpoints_do_not(line: TunedLine, store: Path) -> None:
    for tuning in (tuning_of(), tuning_of(checkpoint_steps=2), tuning_of(seed=1)):
        made(line, store, tuning)
    assert len(line.launched) == 2


def test_perceptual_weights_that_are_not_there_lock_the_step(line: TunedLine, store: Path) -> None:
    artifact = made(line, store, tuning_of(perceptual="weights/lpips.safetensors"))
    assert artifact.locked
    assert "weights/lpips.safetensors" in artifact.manifest.lock.reason  # type: ignore[union-attr]
    assert "leave" in artifact.manifest.lock.cure  # type: ignore[union-attr]


def test_perceptual_weights_count_by_their_bytes(store: Path, tmp_path: Path) -> None:
    ledger = Ledger(store, "test", tmp_path)
    step = replace(tuned(tuning_of(perceptual="lpips.safetensors")), needs=())
    seen = set()
    for data in (b"one", b"two"):
        (tmp_path / "lpips.safetensors").write_bytes(data)
        resolved = ledger.resolve(step)
        assert [entry.path for entry in resolved.external] == ["lpips.safetensors"]
        seen.add(resolved.fingerprint)
    assert len(seen) == 2


# -- a build -----------------------------------------------------------------------------------------------------


TABLE = 'kind = "finetuned"\nname = "{name}"\n\n[image_tokenizer.tuning]\nbatch = 8\nepochs = 2'


def settings(project: Path, tmp_path: Path, table: str) -> Settings:
    """The sample build with another image tokenizer."""
    text = (project / "configs" / "sample.toml").read_text()
    old = '[image_tokenizer]\nkind = "sample"'
    assert old in text
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "sample.toml").write_bytes((project / "configs" / "recipes" / "sample.toml").read_bytes())
    (tmp_path / "sample.toml").write_text(text.replace(old, f"[image_tokenizer]\n{table}"))
    return config.load(tmp_path / "sample.toml")


def test_a_build_tunes_the_shipped_tokenizer(project: Path, tmp_path: Path) -> None:
    steps = {step.key: step for step in graph.steps(settings(project, tmp_path, TABLE.format(name="sample")))}
    needs = [need.key for need in steps["image_tokenizer"].needs]
    assert needs[0] == BASE
    assert {"vqa_rad/curated", "path_mmu/samples"} <= {*needs}
    assert "path_mmu/curated" not in needs
    assert steps[BASE].needs == ()
    assert "image_tokenizer" in [need.key for need in steps["image_codes"].needs]


def test_a_build_tunes_the_published_tokenizer(project: Path, tmp_path: Path) -> None:
    steps = {step.key: step for step in graph.steps(settings(project, tmp_path, TABLE.format(name="vqgan")))}
    assert [need.key for need in steps[BASE].needs] == ["weights/vqgan"]
    assert "weights/vqgan" in steps


def test_the_released_configuration_is_the_default(project: Path, tmp_path: Path) -> None:
    tuning = settings(project, tmp_path, TABLE.format(name="vqgan")).build.image_tokenizer.tuning
    assert tuning is not None
    assert (tuning.adversarial_start, tuning.adversarial_weight, tuning.beta, tuning.base_lr) == (
        25_001,
        0.8,
        0.25,
        4.5e-6,
    )


def test_a_tuned_tokenizer_without_a_tuning_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a table"):
        graph.steps(settings(project, tmp_path, 'kind = "finetuned"\nname = "sample"'))


def test_a_tuning_that_would_not_happen_is_refused(project: Path, tmp_path: Path) -> None:
    table = TABLE.format(name="sample").replace("finetuned", "sample")
    with pytest.raises(ConfigError, match="is not tuned"):
        graph.steps(settings(project, tmp_path, table))


@pytest.mark.parametrize("change", [{"batch": 0}, {"epochs": 0.0}, {"base_lr": float("nan")}, {"held_out": -1}])
def test_values_out_of_bounds_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"image_tokenizer: tuning.{next(iter(change))} is"):
        tuned(tuning_of(**change))


def test_tuning_starts_from_a_vqgan_only() -> None:
    with pytest.raises(ConfigError, match="expected one of 'vqgan'"):
        untuned_step(Weights(kind="finetuned", name="anole_7b"))
