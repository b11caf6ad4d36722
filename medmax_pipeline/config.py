"""A build and its recipes: whole TOML files, read into frozen records in which unknown keys are errors.

A *build* (`configs/<build>.toml`) is a whole run: sources, curation, tokenizers, recipes to make, rows to evaluate. A
*recipe* (`configs/recipes/<recipe>.toml`) is one training run. Nothing here has a default that changes a result without
being written down: the sentence under a field says what it means and where its number comes from. Standard library
only, since training and evaluation read recipes on machines that carry little else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.recipe import NAME, read_toml
from medmax_pipeline.recipe import Adapter as Adapter
from medmax_pipeline.recipe import Mixture as Mixture
from medmax_pipeline.recipe import Packing as Packing
from medmax_pipeline.recipe import Recipe as Recipe
from medmax_pipeline.recipe import Schedule as Schedule
from medmax_pipeline.recipe import read_recipe as read_recipe
from medmax_pipeline.strict import read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerTuning:
    """How an image tokenizer is tuned on the build's training pictures: a VQGAN as in "Taming Transformers".

    Weights of the terms, betas and rate are those of that paper's code and of the VQGAN configuration that MedMax
    released, which starts from the published tokenizer.
    """

    batch: int
    """Pictures a step, over all devices."""
    epochs: float
    """Passes over the training pictures; 8 in the paper's trial, over 300,000 pictures."""
    base_lr: float = 4.5e-6
    """Adam's rate for each picture of a batch; the rate is this times `batch`."""
    pixel_weight: float = 1.0
    """Of the mean absolute difference of pixels."""
    perceptual: str = ""
    """LPIPS weights (VGG16, safetensors), relative to the landing root; empty: the perceptual term is left out."""
    perceptual_weight: float = 1.0
    codebook_weight: float = 1.0
    """Of the distance between latents and their codes."""
    beta: float = 0.25
    """Share in that distance of the term that moves codes towards latents."""
    adversarial_weight: float = 0.8
    """Of the discriminator's opinion, beside the adaptive weight."""
    adversarial_start: int = 25_001
    """First step, from 0, with a discriminator."""
    discriminator_layers: int = 3
    """Convolutions that halve the picture; the judged patches are 70 px wide at 3."""
    discriminator_width: int = 64
    """Channels of its first layer."""
    held_out: int = 256
    """Training pictures kept aside, on which the gain is measured; at most a tenth of all."""
    admit_credentialed: bool = False
    """Whether credentialed pictures may be tuned on; the tuned weights are credentialed then."""
    checkpoint_steps: int = 500
    """Steps between resumable checkpoints; never part of the result."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where a network's or a tokenizer's files come from."""

    kind: Literal["sample", "seeded", "published", "finetuned"]
    """`sample`: shipped with the package; `seeded`: initialised from `size` and `seed`; `published`: the record of
    that `name` in `models/published.py`; `finetuned`: that record's, or the shipped ones where `name` is `sample`,
    tuned as `tuning` says (image tokenizers only)."""
    name: str = ""
    """Key of the published weights."""
    size: Mapping[str, int] = field(default_factory=dict)
    """Fields of the network's configuration, for `seeded`."""
    seed: int = 0
    tuning: TokenizerTuning | None = None
    """For `finetuned`."""
    geometry: Literal["centre_crop", "letterbox"] = "centre_crop"
    """What an image tokenizer sees of pictures that are not square: the middle, as the published one was made and used,
    or all of them with white beside. Part of the tokenizer's digest: codes of one are not those of the other."""

    mode: Literal["exact", "fast"] = "exact"
    """How an image tokenizer encodes: in float32 as the reference, or with its encoder in bfloat16, which a GPU does
    many times faster and which changes some codes (`image_codes` says how many). Part of the tokenizer's digest."""

    @property
    def record(self) -> str:
        """Key of the published weights that these are, or are made of; empty: none."""
        made_of = self.kind == "published" or (self.kind == "finetuned" and self.name != "sample")
        return self.name if made_of else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A language model that answers messages: behind an OpenAI-compatible address, or the embedded build's own."""

    kind: Literal["openai", "sample"]
    """`sample`: rules shipped with the embedded build, named for what they are; no network, no network weights."""
    model: str
    """The pinned model, as the address knows it; for `sample`, the name of the rules."""
    url: str = "https://api.openai.com/v1"
    """Everything before `/chat/completions`."""
    key: str = "OPENAI_API_KEY"
    """Environment variable that holds the key, or with `_FILE` behind it a file that does; empty: none is sent."""
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 1024
    """Tokens of a reply at most."""
    concurrency: int = 8
    """Requests under way at once; like the fields below, no part of any result."""
    requests_per_minute: int = 0
    """0: as many as `concurrency` gives."""
    timeout_s: float = 60.0
    retries: int = 6
    """Times a request is sent again after a refusal, a cut or a silence, waiting longer each time."""
    usd_per_million_in: float | None = None
    """Price of a million prompt tokens; None: costs are given in tokens alone."""
    usd_per_million_out: float | None = None
    budget_usd: float | None = None
    """Stops before a request that could pass it, counted over all runs that share a store; needs both prices."""
    plain_http: bool = False
    """Whether `url` may be http to another machine, where no key and no text is hidden from those in between."""
    may_see_credentialed: bool = False
    """Whether rows of credentialed sources may leave this machine for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """From which measures on two pictures are copies of each other. All ours; docs/curation.md says how measured."""

    hash_bits: int = 6
    """Bits in which perceptual hashes of candidates differ at most; up to 7 the search is exact."""
    copy_detail: float = 0.85
    """Least correlation of detail, after the pictures were laid over each other."""
    copy_tone: float = 0.1
    """Greatest share of the blurred picture that no tone curve explains."""
    strict_detail: float = 0.97
    """As `copy_detail`, for a look that many pictures share."""
    strict_tone: float = 0.02
    """As `copy_tone`, for a look that many pictures share."""
    alike_detail: float = 0.6
    """Correlation of detail from which pictures that are no copies are alike: slices, frames, the same view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """Decisions on which samples stay, and into what form they are put."""

    duplicates: Literal["near", "exact", "off"] = "exact"
    """Drop the second and further samples with the same pictures and text; `near`: also where the pictures were
    rescaled, pressed or toned and the text differs in case, spaces or punctuation."""
    leakage: Literal["near", "exact", "off"] = "exact"
    """Drop training samples whose picture, by bytes or by pixels, is an evaluation picture; `near`: also where it was
    cut, framed, turned, flipped, rescaled, pressed or toned."""
    nearness: Nearness = field(default_factory=Nearness)
    """From which measures on pictures are copies."""
    figures: Literal["similarity", "off"] = "off"
    """Drop training samples that show a plot or chart, as the build's similarity model sees it."""
    figures_sources: tuple[str, ...] = ("pmc_oa", "llava_med_pmc", "pubmedvision_alignment")
    """Whose pictures are looked at: those cut out of articles, in which plots stand beside pictures of patients."""
    figures_threshold: float = 0.0
    """A picture is a chart where its cosine with the nearest description of a chart is greater by this than that with
    the nearest of a medical picture. Ours, the paper's is not published; it belongs to a model and its descriptions."""
    figures_prompts: str = "v1"
    """List of descriptions (`curation/figures.py`)."""
    captions: Literal["model", "off"] = "off"
    """Drop training samples whose caption says nothing of a picture, as a language model reads it."""
    captions_endpoint: str = ""
    """Name of the endpoint that reads them; empty: the decision is locked, and so are the sources it stands for."""
    captions_sources: tuple[str, ...] = ("pmc_oa", "quilt_1m", "llava_med_pmc", "pubmedvision_alignment")
    """Whose captions are read: those that were written or taken down beside pictures, not for them."""
    captions_prompt: str = "v1"
    """The prompt's file in `curation/prompts/`. Ours, the paper's is not published."""
    generation_share: float = 0.5
    """Share of caption pairs turned into text-to-image samples; the paper's two accounts differ (0.16 and 0.5)."""
    radiograph_share: float = 0.5
    """Share of report pairs turned into text-to-image samples; one half in the paper."""
    licences: tuple[str, ...] = ()
    """Licences whose training samples stay, by the names on the records, or `commercial`: those known to allow
    commercial use and changed copies. Empty: any."""
    single_image: bool = True
    """Drop training samples with several images, as the paper does."""
    hold_out: Mapping[str, float] = field(default_factory=dict)
    """Share of the images, by image id, of a source without an evaluation split that become evaluation rows."""
    templates: str = "v1"
    """Set of phrases (`curation/templates/`) for samples whose source asks no question of its own."""
    evaluation_phrase_share: float = 0.5
    """Share of such samples that are asked as the published evaluation asks; the others get a phrase of the set. Ours:
    the paper's list of phrases is not published."""
    mcq_answer: Literal["letter", "option"] = "letter"
    """What multiple-choice questions are answered with: the letter, as the evaluation reads it, or letter and text
    (`B: Liver`), as in the paper's examples. Both begin with the letter, which is all that is scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interleave:
    """The interleaved set: questions with three-part answers and one picture, written by a language model."""

    endpoint: str = ""
    """Name of the endpoint that writes; empty: the set is locked."""
    sources: tuple[str, ...] = ("pmc_oa", "quilt_1m")
    """Whose curated pairs are written about; the paper's two."""
    limit: Mapping[str, int] = field(default_factory=dict)
    """Pairs of a source at most, chosen by sample id; all where a source is not named."""
    prompt: str = "v1"
    """The prompt's file in `interleave/prompts/`."""
    attempts: int = 3
    """Times a pair is asked about until a reply can be read; then it is quarantined. Ours."""


PromptStyle = Literal["sft", "chameleon"]
"""How questions are put: `sft` as in training, the question and the end of the turn; `chameleon` as the reference asks
models that were not tuned on turns, with an instruction before the question and the reply behind "Answer:"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is evaluated and how."""

    tasks: tuple[str, ...] = ()
    """Rows of the suite, e.g. `vqa_rad/closed`."""
    base: bool = True
    """Evaluate the untuned base model too, so that a gain can be stated."""
    judge: str = ""
    """Name of the endpoint that judges open answers; empty: none, and what it would say stays locked."""
    limit: Mapping[str, int] = field(default_factory=dict)
    """Items a task evaluates at most, chosen by sample id; all where a task is not named."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where a task's items come from, of the sources that its file knows; the first of them where none is named."""
    prompt_style: PromptStyle = "sft"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A whole run as a file."""

    name: str
    sources: tuple[str, ...]
    recipes: tuple[str, ...]
    image_tokenizer: Weights
    text_tokenizer: Weights
    base_model: Weights
    similarity_model: Weights | None = None
    """The network behind similarity scores; None: the build has none, and those scores stay locked."""
    corpus: Literal["sample", "none"] = "none"
    """`sample` lays the embedded corpus out in the landing folders first."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Another release or choice of files of a source, by the name in its record; the default where none is named."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Commit (40 hex digits) at which a source's, or a weights record's, hub files are fetched; where none is named,
    the record's own, or the one that the first fetch met. `medmax sources --pins` prints what is pinned here."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    """Language models by the names that the build gives them."""
    interleave: Interleave | None = None
    """The interleaved set; a recipe's mixture names it `interleaved`, like a source. None: the build has none."""
    curation: Curation = field(default_factory=Curation)
    evaluation: Evaluation = field(default_factory=Evaluation)
    executor: Literal["in_process", "multiprocess"] = "in_process"
    """`multiprocess` (forkserver) isolates steps; `in_process` starts faster."""


@dataclass(frozen=True)
class Settings:
    """A build with its recipes, and where this machine keeps things. Paths are no part of any fingerprint."""

    build: Build
    recipes: Mapping[str, Recipe]
    store: Path
    landing: Path


INTERLEAVED = "interleaved"
"""How a mixture names the interleaved set, and the prefix of its assets."""


def mixed_sources(build: Build) -> tuple[str, ...]:
    """What a mixture may name: the build's sources, and the interleaved set where the build has one."""
    return build.sources if build.interleave is None else (*build.sources, INTERLEAVED)


def _check_mixture(recipe: Recipe, build: Build, where: str) -> None:
    """Refuse a mixture that names what the build has not."""
    mixture = recipe.mixture
    named = {*mixture.required, *mixture.optional, *mixture.repeat, *mixture.limit}
    unknown = named - {*mixed_sources(build)}
    if unknown:
        raise ConfigError(f"{recipe.name}.toml: mixture names {sorted(unknown)}, which {where} has no source for.")


def _check_pins(build: Build, where: str) -> None:
    """Refuse variants of sources that the build has not, and pins that are no commits."""
    strangers = sorted(build.variants.keys() - {*build.sources})
    if strangers:
        raise ConfigError(f"{where}: variants names {strangers}, which the build has no source for.")
    loose = sorted(key for key, commit in build.pins.items() if not re.fullmatch(r"[0-9a-f]{40}", commit))
    if loose:
        raise ConfigError(f"{where}: pins of {loose} are no commits; expected 40 hex digits, a branch moves.")


def _check_evaluation(build: Build, where: str) -> None:
    """Refuse a judge that is no endpoint, and limits or sources of tasks that are not evaluated."""
    wanted = build.evaluation
    if wanted.judge and wanted.judge not in build.endpoints:
        raise ConfigError(
            f"{where}: evaluation.judge is {wanted.judge!r}, which [endpoints] does not have "
            f"(known: {', '.join(build.endpoints) or 'none'})."
        )
    strangers = sorted({*wanted.limit, *wanted.sources} - {*wanted.tasks})
    if strangers:
        raise ConfigError(f"{where}: evaluation names {strangers} under limit or sources, but not under tasks.")


def config_folder() -> Path:
    """The project's `configs/`: MEDMAX_CONFIG_DIR, else beside the package, else in the working folder."""
    named = os.environ.get("MEDMAX_CONFIG_DIR")
    beside = Path(__file__).resolve().parent.parent / "configs"
    return Path(named) if named else beside if beside.is_dir() else Path("configs")


def load(config: Path | None = None) -> Settings:
    """Read the build this process works on.

    Args:
        config: its TOML; None: MEDMAX_CONFIG, else the embedded `sample.toml`.

    Raises:
        ConfigError: anything in the build's or a recipe's file is not as it should be.
    """
    named = os.environ.get("MEDMAX_CONFIG")
    path = config or (Path(named) if named else config_folder() / "sample.toml")
    build = read_record(Build, read_toml(path), path.name)
    if build.name != path.stem or not NAME.fullmatch(build.name):
        raise ConfigError(f"{path.name}: name is {build.name!r}, expected {path.stem!r} (a-z, 0-9, _).")
    recipes = {name: read_recipe(path.parent / "recipes" / f"{name}.toml") for name in build.recipes}
    for recipe in recipes.values():
        _check_mixture(recipe, build, path.name)
    _check_pins(build, path.name)
    _check_evaluation(build, path.name)
    store = Path(os.environ.get("MEDMAX_STORE", "store")).absolute()
    default = store / "landing" / "sample" if build.corpus == "sample" else Path("landing")
    landing = Path(os.environ.get("MEDMAX_LANDING", default)).absolute()
    return Settings(build, recipes, store, landing)
