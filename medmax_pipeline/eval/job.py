"""One evaluation as a file: which model, which tasks, where from and where to. Standard library only.

python -m medmax_pipeline.eval JOB.json
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.config import Endpoint, PromptStyle
from medmax_pipeline.files import read_json
from medmax_pipeline.strict import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob:
    """One task of a job. Every path is a folder or file of this machine."""

    task: str
    """The row's key, e.g. `vqa_rad/closed`."""
    samples: tuple[str, ...]
    """`samples.parquet` files of the task's source."""
    seed: int
    work: str
    """Resumable state; the caller removes it after publishing."""
    out: str
    """Empty folder that gets `items.parquet` and `images/`."""
    images: tuple[str, ...] = ()
    """`images.parquet` files that say where the bytes of the pictures are, for scorers that look at them."""
    without: tuple[str, ...] = ()
    """Ids of samples that are withdrawn and not asked."""
    limit: int | None = None
    """Items at most, by sample id; None: all."""
    prompt_style: PromptStyle = "sft"
    leaked: str = ""
    """Parquet whose column `sample_id` names the evaluation samples found in training data; empty: nobody looked."""
    previous: str = ""
    """Output of an earlier run, whose answers stay where the same would be asked of the same model; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityJob:
    """The build's similarity model."""

    name: str
    """What its metrics are called after."""
    folder: str = ""
    """Its weights; empty where it is locked."""
    reason: str = ""
    """Why it is locked."""
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Tasks of one model, which is loaded once."""

    model_name: str
    """Name under which answers are filed: a recipe or `base`."""
    model: str
    """The model's folder."""
    text_tokenizer: str
    image_tokenizer: str
    codes: str
    """Folder of the image tokenizer's codes in the code store."""
    tasks: tuple[TaskJob, ...]
    model_digest: str = ""
    """Of model and tokenizers: what answers that are kept must have been given by; empty: taken from their files."""
    landing: str = ""
    """Root of the landing folders, where the pictures lie; empty: there are none here."""
    judge: Endpoint | None = None
    """The language model that judges; None: what it would say stays locked."""
    replies: str = ""
    """Folder of endpoints' answers, kept for good; only where there is a judge."""
    similarity: SimilarityJob | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1
    """CPU threads of the networks. One by default: sums of floats, and with them the records, then depend on no
    machine's number of cores, and small models are no slower."""

    def to_json(self) -> dict[str, Any]:
        """The job as JSON values."""
        return asdict(self)


def read_job(path: Path) -> Job:
    """The job in `path`, checked.

    Raises:
        ConfigError: unknown or missing keys, or values of another type.
        StoreError: it is no JSON.
    """
    return read_record(Job, read_json(path), path.name)
