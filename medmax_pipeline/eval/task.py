"""What a benchmark is: one frozen record, found by its file in `tasks/`.

Items, models and ids are not known here; how replies become verdicts belongs to the families that `Task.answer` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from medmax_pipeline.config import PromptStyle
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Kind, Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine
    from medmax_pipeline.eval.items import Item
    from medmax_pipeline.eval.records import Answered, ItemRecord
    from medmax_pipeline.eval.scorers import Scorers

SUITE_VERSION = "3"
"""Part of every task's code version. Raise it when items, batches, journal or what families share change a record."""

CHANCE = "chance"
"""Among a record's values: what guessing among its own options would earn, where options differ between items."""


@dataclass(frozen=True, slots=True)
class Count:
    """A published number of rows and where it was read; None where nobody published one."""

    n: int | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure that a task reports, always under the name of what computes it."""

    name: str
    meaning: str
    scorer: str = ""
    """What turns a reply into a number; empty where `by` says that the build names it."""
    by: Literal["", "judge", "similarity"] = ""
    """The scorer of the build that gives it. Families write it into records under its plain `name`; published records
    and scores have it as `name@scorer` (`scorers.bound`), and beside it the paper's own, locked where it is another."""
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


def of_kind(*kinds: Kind, answer_type: str = "") -> Callable[[Sample], bool]:
    """The rule that takes samples of these kinds, and of that answer type where one is given."""
    return lambda sample: sample.kind in kinds and answer_type in ("", sample.answer_type)


def of_row(key: str) -> Callable[[Sample], bool]:
    """The rule that takes the samples of a row of the published evaluation data, whatever their kind."""
    return lambda sample: sample.answer_type == key


def modality(sample: Sample) -> str:
    """The sample's modality, as its publisher names it."""
    return sample.modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One evaluation row of the suite."""

    task_name: str
    """As in the published evaluation data, column `task_name`."""
    question_type: str
    """As in the published evaluation data, column `question_type`; empty where the row holds several."""
    rows: Mapping[str, Callable[[Sample], bool]]
    """Which evaluation samples are items, by the source they come from. The first source is asked unless the build
    names another one (`[evaluation.sources]`)."""
    prompt: Callable[[Sample], str]
    """The user's text, with `<image>` where the sample's pictures go."""
    reference: Callable[[Sample], str]
    answer: Callable[[Engine, Task, Sequence[Item]], Answered]
    """Run a batch through the model, and judge what needs no scorer of the build: the family."""
    decoding: Decoding
    metrics: tuple[Metric, ...]
    published: Count
    batch_size: int
    """Items a batch; part of the definition, so that no figure depends on a machine."""
    version: str
    """Raise it when prompt, decoding, batch size or what `answer` judges change: this task alone is then run again."""
    options: tuple[str, ...] = ()
    """Answers to choose from, where every question leaves the same choice."""
    chameleon_prompt: Callable[[Sample], str] | None = None
    """The user's text in the style `chameleon`; None: as `prompt`."""
    end_of_turn: bool = True
    """Whether the separator stands behind the prompt, so that a reply is begun and no text continued."""
    score: Callable[[Scorers, Task, Sequence[Sample], Sequence[ItemRecord]], list[ItemRecord]] | None = None
    """Fill in the metrics `by` judge and similarity, for all items or some of them: one record for each given, in the
    given order; an item's record depends on no other item. None where there are no such metrics."""
    scoring_version: str = "1"
    """Raise it when `score` or its prompts change: what the model said stays and is scored again."""
    item_type: Callable[[Sample], str] | None = None
    """An item's question type, where the row holds several."""
    group: Callable[[Sample], str] = modality
    """What items are also averaged by."""

    @property
    def key(self) -> str:
        """`<task_name>/<question_type>`, or the one word where there is no type: the row's name everywhere."""
        return f"{self.task_name}/{self.question_type}" if self.question_type else self.task_name

    @property
    def source(self) -> str:
        """The source that is asked unless the build names another one."""
        return next(iter(self.rows))

    def in_style(self, style: PromptStyle) -> Task:
        """The task as a build of that prompt style asks it."""
        if style == "sft":
            return self
        return replace(self, prompt=self.chameleon_prompt or self.prompt, end_of_turn=False)

    def accepts(self, sample: Sample) -> bool:
        """Whether a sample is an item of this row."""
        rule = self.rows.get(sample.source)
        return rule is not None and sample.split == "eval" and rule(sample)

    @property
    def code_version(self) -> str:
        """What the ledger compares: the suite's and the task's own versions."""
        return f"{self.generation_version}.{self.scoring_version}" if self.score else self.generation_version

    @property
    def generation_version(self) -> str:
        """What decides, on the side of code, what the model says."""
        return f"{SUITE_VERSION}.{self.version}"

    @property
    def chance(self) -> float | None:
        """Share of right answers by guessing among the options; None where there are none."""
        return 1 / len(self.options) if self.options else None
