"""Tuned models handed on: what is in the folder, what the card says and does not, who is refused."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import ChameleonForConditionalGeneration

from medmax_pipeline import cli
from medmax_pipeline.config import Adapter, Weights
from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.publish import SCORES
from medmax_pipeline.eval.scores import Score
from medmax_pipeline.files import sha256_bytes, write_json
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.steps import base_model_step
from medmax_pipeline.shards.steps import shards_step
from medmax_pipeline.steps import Need, Outcome, Run, Step
from medmax_pipeline.training.__main__ import main
from medmax_pipeline.training.publish import export
from medmax_pipeline.training.steps import checkpoint_step
from medmax_pipeline.withdrawal import mark
from tests.shards.exporting import OPEN, SECRET_WORDS, SOURCES, build, recipe

SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
SCORED = Score(
    model="open", task="vqa_rad/closed", metric="accuracy", headline=True, status="ok", scorer="compat|v1",
    meaning="of all", share=True, n=8, n_scored=7, clusters=5, low=0.5, high=0.75,
    gain=0.125, gain_low=0.1, gain_high=0.2,
)  # fmt: skip


def launch(arguments: Sequence[str], *, state: Path | None = None) -> None:
    """The launched process, in this one."""
    assert main(list(arguments[1:])) == 0
    torch.use_deterministic_algorithms(False)


def scores_step(name: str, value: float) -> Step:
    """Scores of a checkpoint, as evaluation publishes them."""
    rows = [
        replace(SCORED, model=name, value=value),
        replace(SCORED, model=name, task="visual_chat", status="locked", reason="the build has no judge"),
        replace(SCORED, model="base", value=0.111),
    ]

    def run(ctx: Run) -> Outcome:
        write_json(ctx.out / SCORES, [asdict(row) for row in rows])
        return Outcome()

    return Step(f"scores/{name}", run, str(value), needs=(Need(f"checkpoint/{name}"),))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Two checkpoints: `mixed`, by LoRA and on credentialed samples too, and `open`, in full and with scores."""
    ledger = build(tmp_path_factory.mktemp("published"))
    mixed = replace(recipe("mixed", *SOURCES), adapter=Adapter(kind="lora", rank=2))
    plain = recipe("open", "quilt_instruct")
    ledger.execute(base_model_step(Weights(kind="seeded", size=SIZE)), launch=launch)
    ledger.execute(shards_step(plain, SOURCES), launch=launch)
    for each in (mixed, plain):
        ledger.execute(checkpoint_step(each), launch=launch)
    ledger.execute(scores_step("open", 0.625), launch=launch)
    return ledger


@pytest.fixture
def copied(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A store of one's own, to do harm to."""
    shutil.copytree(ledger.store, tmp_path / "store")
    return Ledger(tmp_path / "store", "test", tmp_path / "store" / "landing")


def card(folder: Path) -> tuple[dict[str, object], str]:
    """Header and text of a card."""
    _, header, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_an_exported_model_is_loaded_from_its_folder_as_it_is(ledger: Ledger, tmp_path: Path) -> None:
    export(ledger, "checkpoint/open", tmp_path / "out")
    stock = ChameleonForConditionalGeneration.from_pretrained(tmp_path / "out")
    ours = MixedModalChameleon.load(ledger.need("checkpoint/open").folder / "model")
    assert torch.equal(stock.lm_head.weight, ours.lm_head.weight)
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"README.md", "recipe.json", "tokenizer.json", "log/curve.png", "log/metrics.jsonl"} <= names
    assert not any(name.startswith(("model/", "adapter/", "log/tensorboard")) for name in names)


def test_the_card_tells_base_data_recipe_and_scores(ledger: Ledger, tmp_path: Path) -> None:
    done = export(ledger, "checkpoint/open", tmp_path / "out")
    header, text = card(tmp_path / "out")
    assert header["library_name"] == "transformers"
    assert "base_model" not in header  # a seeded base is nobody's repository
    assert "initialised from seed 0, no published model" in text
    assert "Not for clinical use" in text
    assert header["license_name"] == "mixed"
    assert "No credentialed sample was tuned on." in text
    assert "Look before handing this on: CC-BY-NC-ND-3.0 (quilt_instruct). Their terms" in text
    assert "embedded sample" not in text
    assert "| 2 | [CC-BY-NC-ND-3.0]" in text or "| 2 | CC-BY-NC-ND-3.0 |" in text
    assert "quilt_instruct 100.0 %" in text
    assert '"peak_lr": 0.001' in text
    assert "| vqa_rad/closed | **accuracy** | 62.5 % | 50.0 % to 75.0 % |" in text
    assert "| +12.5 % [+10.0 % to +20.0 %] | 7/8 | compat\\|v1 |" in text
    assert "- visual_chat: the build has no judge" in text
    assert "11.1 %" not in text  # the base's own
    assert ledger.need("checkpoint/open").manifest.digest in text
    assert "scores/open" in done.scores


def test_the_cards_own_lines_run_on_the_exported_folder(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(ledger, "checkpoint/open", tmp_path / "out")
    lines = card(tmp_path / "out")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "lines.py").write_text(lines.replace("FOLDER", str(tmp_path / "out")).replace("=64", "=4"))
    reply = runpy.run_path(str(tmp_path / "lines.py"))["reply"]
    assert 0 < len(reply) <= 4
    assert capsys.readouterr().out


def test_a_model_tuned_on_credentialed_samples_needs_the_persons_word(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"tuned on credentialed samples \(mimic_cxr.*--credentialed"):
        export(ledger, "checkpoint/mixed", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = export(ledger, "checkpoint/mixed", tmp_path / "out", credentialed=True)
    assert "mimic_cxr" in done.credentialed
    _, text = card(tmp_path / "out")
    assert "**Tuned on credentialed samples (mimic_cxr" in text
    assert "physionet.org" in text
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").is_file()
    told = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.md"))
    assert SECRET_WORDS.encode() not in told


def test_scores_that_are_not_made_are_named_as_missing(ledger: Ledger, tmp_path: Path) -> None:
    done = export(ledger, "checkpoint/mixed", tmp_path / "out", credentialed=True)
    assert done.scores == "scores/mixed is not made yet"
    assert "None: scores/mixed is not made yet." in card(tmp_path / "out")[1]


def test_scores_of_another_version_of_the_checkpoint_are_not_shown(copied: Ledger, tmp_path: Path) -> None:
    copied.execute(checkpoint_step(replace(recipe("open", "quilt_instruct"), seed=5)), launch=launch)
    assert "another version" in export(copied, "checkpoint/open", tmp_path / "out").scores
    assert "62.5 %" not in card(tmp_path / "out")[1]


def test_the_same_checkpoint_gives_the_same_bytes(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(ledger, "checkpoint/open", tmp_path / name)
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_a_model_that_saw_what_was_withdrawn_since_is_refused(copied: Ledger, tmp_path: Path) -> None:
    mark(copied.store, [sha256_bytes(OPEN[0])], "asked for")
    with pytest.raises(StoreError, match="1 samples that it was tuned on were withdrawn since"):
        export(copied, "checkpoint/mixed", tmp_path / "out", credentialed=True)


def test_a_changed_weight_is_not_handed_on(copied: Ledger, tmp_path: Path) -> None:
    path = copied.need("checkpoint/open").folder / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(StoreError, match="its bytes are not those the manifest names"):
        export(copied, "checkpoint/open", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_checkpoints_go_this_way_and_into_empty_folders(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no checkpoint"):
        export(ledger, "base_model", tmp_path / "out")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds something already"):
        export(ledger, "checkpoint/open", tmp_path)


def test_the_command_exports_a_checkpoint_and_keeps_the_word_from_shards(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_ledger", lambda settings: ledger)
    assert cli.main(["export", "checkpoint/open", "--out", str(tmp_path / "out")]) == 0
    assert "scores: `scores/open`" in capsys.readouterr().out
    assert cli.main(["export", "checkpoint/mixed", "--out", str(tmp_path / "no")]) == 2
    assert cli.main(["export", "shards/mixed", "--credentialed", "--out", str(tmp_path / "no")]) == 2
    assert "never handed on" in capsys.readouterr().err
