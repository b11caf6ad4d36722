"""What a benchmark is: one frozen record, found by its file in `tasks/`.

Items, models and ids are not known here; how replies become verdicts belongs to the families that `Task.answer` names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Kind, Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine
    from medmax_pipeline.eval.items import Item
    from medmax_pipeline.eval.records import Answered

SUITE_VERSION = "1"
"""Part of every task's code version. Raise it when items, batches, journal or what families share change a record."""


@dataclass(frozen=True, slots=True)
class Count:
    """A published number of rows and where it was read; None where nobody published one."""

    n: int | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure that a task reports, always under the name of what computes it."""

    name: str
    scorer: str
    """What turns a reply into a number."""
    meaning: str
    per_item: str = ""
    """The items' value that it averages; empty: the one of its own name."""
    balanced: bool = False
    """Mean over the classes of reference answers, so that saying one answer always earns no more than chance."""
    share: bool = True
    """Whether it lies between 0 and 1 and may be written in percent."""
    headline: bool = False
    """Whether the task is known by it."""
    lock: Lock | None = None
    """Why it cannot be computed; its value is then null, and nothing stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How an answer is drawn from the model."""

    max_new_tokens: int = 0
    """Text tokens at most; pictures have a length of their own."""
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    cfg_text: float = 1.0
    """Guidance towards the text."""
    cfg_image: float = 1.0
    """Guidance towards pictures of the prompt."""
    max_images: int = 0
    """Pictures at most, where a reply may hold text and pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One evaluation row of the suite."""

    task_name: str
    """As in the published evaluation data, column `task_name`."""
    question_type: str
    """As in the published evaluation data, column `question_type`."""
    source: str
    """Whose evaluation rows are asked."""
    kinds: tuple[Kind, ...]
    """Which of its samples are items."""
    prompt: Callable[[Sample], str]
    """The user's text, with `<image>` where the sample's pictures go."""
    reference: Callable[[Sample], str]
    answer: Callable[[Engine, Task, Sequence[Item]], Answered]
    """Run a batch through the model and judge it: the family."""
    decoding: Decoding
    metrics: tuple[Metric, ...]
    published: Count
    batch_size: int
    """Items a batch; part of the definition, so that no figure depends on a machine."""
    version: str
    """Raise it when prompt, decoding, scoring or batch size change: this task alone is then run again."""
    options: tuple[str, ...] = ()
    """Answers to choose from, where the question leaves a choice."""

    @property
    def key(self) -> str:
        """`<task_name>/<question_type>`, the row's name everywhere."""
        return f"{self.task_name}/{self.question_type}"

    @property
    def code_version(self) -> str:
        """What the ledger compares: the suite's and the task's own version."""
        return f"{SUITE_VERSION}.{self.version}"

    @property
    def chance(self) -> float | None:
        """Share of right answers by guessing among the options; None where there are none."""
        return 1 / len(self.options) if self.options else None


BIOMEDCLIP = Metric(
    name="biomedclip_score",
    scorer="BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    meaning="cosine of picture and text in BiomedCLIP's space, the paper's metric (section 5)",
    lock=Lock(
        "BiomedCLIP's weights are not among this build's weights, and no scorer here reads them yet.",
        "Needs microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224 under landing/weights/biomedclip/ (fetched if "
        'the build says similarity_model = { kind = "published", name = "biomedclip" }), and a version that reads it.',
    ),
)
"""The paper's measure of captions and generated pictures; locked until its weights and a scorer are here."""
