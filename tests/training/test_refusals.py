"""What the trainer itself refuses, whoever starts it: foreign vocabularies, foreign pictures, credentialed samples."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from medmax_pipeline.errors import ConfigError, TokenError, WeightsError
from medmax_pipeline.files import read_json, write_json, write_table
from medmax_pipeline.models.chameleon import MixedModalChameleon
from medmax_pipeline.models.codebook import codebook_digest
from medmax_pipeline.training.job import Job
from medmax_pipeline.training.refusals import refuse
from tests.training.conftest import World

MakeJob = Callable[..., Job]


def written(job: Job) -> Path:
    """The shards' account of their vocabulary."""
    return Path(job.shards) / "vocabulary.json"


def test_shards_of_the_models_own_tokenizers_are_taken(make_job: MakeJob) -> None:
    refuse(make_job())


def test_shards_of_another_text_tokenizer_are_refused(make_job: MakeJob) -> None:
    job = make_job()
    write_json(written(job), read_json(written(job)) | {"text_tokenizer": "f" * 64})
    with pytest.raises(TokenError, match=r"text_tokenizer is ffffffffffff there and .*Make the shards again"):
        refuse(job)


def test_every_id_that_differs_is_told_at_once(make_job: MakeJob) -> None:
    job = make_job()
    record = read_json(written(job))
    record["ids"] |= {"sep": 7, "boi": 9}
    write_json(written(job), record)
    with pytest.raises(TokenError, match=r"boi is id 9 there and \d+ here; sep is id 7 there and \d+ here"):
        refuse(job)


def test_pictures_of_another_size_are_refused(make_job: MakeJob) -> None:
    job = make_job()
    write_json(written(job), read_json(written(job)) | {"codes_per_image": 16})
    with pytest.raises(TokenError, match="codes_per_image is 16 there and 4 here"):
        refuse(job)


def test_shards_that_do_not_tell_their_codebook_are_refused(make_job: MakeJob) -> None:
    job = make_job()
    record = read_json(written(job))
    del record["codebook"]
    write_json(written(job), record)
    with pytest.raises(TokenError, match="codebook is None there and"):
        refuse(job)


def changed_base(world: World, folder: Path, dtype: torch.dtype, change: float) -> Path:
    """The base in another type, one number of its codebook changed."""
    model = MixedModalChameleon.load(world.base)
    with torch.no_grad():
        model.model.vqmodel.quantize.embedding.weight[3, 2] += change
    model.to(dtype).save(folder, text_folder=world.base)
    return folder


def test_a_model_with_another_codebook_is_refused(world: World, make_job: MakeJob, tmp_path: Path) -> None:
    base = changed_base(world, tmp_path / "base", torch.float32, 0.5)
    with pytest.raises(TokenError, match=r"codebook is .* there and"):
        refuse(replace(make_job(), base=str(base)))


def test_a_model_that_keeps_its_codebook_in_bfloat16_has_the_same(
    world: World, make_job: MakeJob, tmp_path: Path
) -> None:
    base = changed_base(world, tmp_path / "base", torch.bfloat16, 0.0)
    assert codebook_digest(base) == codebook_digest(world.base)
    refuse(replace(make_job(), base=str(base)))


def test_a_codebook_in_another_type_is_no_guess(world: World, tmp_path: Path) -> None:
    base = changed_base(world, tmp_path / "base", torch.float16, 0.0)
    with pytest.raises(WeightsError, match="its codebook is F16"):
        codebook_digest(base)


def test_ids_beyond_the_models_rows_are_refused(world: World, make_job: MakeJob, tmp_path: Path) -> None:
    base = changed_base(world, tmp_path / "base", torch.float32, 0.0)
    config = read_json(base / "config.json")
    write_json(base / "config.json", config | {"vocab_size": config["vocab_size"] - 1})
    with pytest.raises(TokenError, match=r"ids go up to (\d+), the model has \1 rows"):
        refuse(replace(make_job(), base=str(base)))


def test_a_base_that_describes_no_pictures_is_refused(world: World, make_job: MakeJob, tmp_path: Path) -> None:
    base = changed_base(world, tmp_path / "base", torch.float32, 0.0)
    write_json(base / "config.json", read_json(base / "config.json") | {"vq_config": {"resolution": "wide"}})
    with pytest.raises(TokenError, match="no geometry of pictures"):
        refuse(replace(make_job(), base=str(base)))


@pytest.mark.parametrize("text", ["[]", json.dumps("x")])
def test_an_account_that_is_no_object_is_refused(make_job: MakeJob, text: str) -> None:
    job = make_job()
    written(job).write_text(text)
    with pytest.raises(TokenError, match="expected an object"):
        refuse(job)


def credentialed(job: Job, column: str) -> Job:
    """The job, its index calling the first sequence credentialed in a column."""
    path = Path(job.shards) / "index.parquet"
    table = pq.read_table(path)
    first = pa.array([number == 0 for number in range(table.num_rows)])
    value = True if column == "credentialed" else "credentialed-000000.tar"
    changed = pc.if_else(first, value, table[column])
    write_table(path, table.set_column(table.schema.get_field_index(column), column, changed))
    return job


@pytest.mark.parametrize("column", ["credentialed", "shard"])
def test_credentialed_sequences_need_the_recipes_word(make_job: MakeJob, column: str) -> None:
    with pytest.raises(ConfigError, match=r"1 sequences are credentialed \(pmc_oa\), but tiny.toml does not admit"):
        refuse(credentialed(make_job(), column))


def test_a_recipe_that_admits_them_gets_them(make_job: MakeJob) -> None:
    refuse(credentialed(make_job(mixture={"admit_credentialed": True}), "credentialed"))
