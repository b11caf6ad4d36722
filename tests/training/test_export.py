"""What a tuned model says is the same in every form it is kept in (and what stock transformers reads of it)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, ChameleonForConditionalGeneration

from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.original_format_files import read_original
from medmax_pipeline.models.original_format_write import write_original
from medmax_pipeline.training.job import Job
from tests.training.conftest import World
from tests.training.runs import run

MakeJob = Callable[..., Job]
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's, of transformers


def tuned(make_job: MakeJob) -> tuple[Job, Path]:
    """A finished LoRA run and its folder."""
    adapter = {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.1}
    job = make_job(adapter=adapter, schedule={"epochs": 2.0, "peak_lr": 3e-2, "checkpoint_steps": 100})
    run(job)
    return job, Path(job.out)


def logits(model: MixedModalChameleon) -> Tensor:
    """Of fixed ids, (60, V)."""
    ids = torch.randint(model.config.vocab_size, (1, 60), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        told: Tensor = model.eval()(input_ids=ids).logits[0]
    return told


def test_adapter_merged_reloaded_and_converted_models_say_the_same(
    world: World, make_job: MakeJob, tmp_path: Path
) -> None:
    from peft import PeftModel

    _, out = tuned(make_job)
    owner = PeftModel.from_pretrained(MixedModalChameleon.load(world.base), out / "adapter")
    beside = owner.get_base_model()
    assert isinstance(beside, MixedModalChameleon)
    apart = logits(beside)
    merged = logits(owner.merge_and_unload())
    reloaded = logits(MixedModalChameleon.load(out / "model"))
    write_original(out / "model", tmp_path / "original")
    read_original(tmp_path / "original", tmp_path / "back", image=world.root / "image")
    converted = logits(MixedModalChameleon.load(tmp_path / "back"))
    assert torch.equal(merged, reloaded)  # the same sums of the same float32 numbers
    assert torch.equal(reloaded, converted)
    torch.testing.assert_close(apart, merged, atol=1e-5, rtol=1e-4)  # W x + B A x against (W + B A) x
    assert (merged - logits(MixedModalChameleon.load(world.base))).abs().max() > 1e-2


def test_stock_transformers_loads_the_merged_model_for_text(world: World, make_job: MakeJob) -> None:
    _, out = tuned(make_job)
    stock = ChameleonForConditionalGeneration.from_pretrained(out / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    assert (tokenizer.bos_token_id, stock.generation_config.pad_token_id) == (
        world.vocabulary.bos,
        world.vocabulary.pad,
    )
    ids = torch.randint(stock.config.vocab_size, (1, 60), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        theirs = stock(input_ids=ids).logits[0]
    ours = logits(MixedModalChameleon.load(out / "model"))
    text = torch.from_numpy(world.vocabulary.text_ids.copy())
    torch.testing.assert_close(theirs[:, text], ours[:, text], atol=1e-5, rtol=1e-4)
    assert torch.equal(theirs[:, text].argmax(1), ours[:, text].argmax(1))


def test_full_tuning_moves_heads_norms_apart_and_lora_does_not(make_job: MakeJob) -> None:
    full = make_job("full", schedule={"epochs": 2.0, "checkpoint_steps": 100})
    run(full)
    for folder, apart in ((Path(full.out), True), (tuned(make_job)[1], False)):
        norm = MixedModalChameleon.load(folder / "model").model.layers[0].self_attn.q_norm.weight
        assert bool((norm != norm[:1]).any()) == apart
