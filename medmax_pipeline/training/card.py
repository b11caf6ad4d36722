"""The card of a tuned model: what it was made from, on which terms, how, and how well it answers.

Made of manifests, the recipe, the run's own figures and published scores alone; what nobody recorded is named as such.
Which files go beside it, and to whom they may go, is `publish.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml

from medmax_pipeline.eval.scores import Score
from medmax_pipeline.files import decimal_size
from medmax_pipeline.lineage import Closure
from medmax_pipeline.manifest import FileEntry, Manifest
from medmax_pipeline.models.published import PUBLISHED
from medmax_pipeline.shards.card import CITATION, PAPER, Part, licence_warnings, parts_table
from medmax_pipeline.sources import SOURCES

ABSENT: Final = "not recorded"
SAMPLE: Final = "sample_corpus"
"""The artifact behind everything that the embedded corpus went into."""
RUN_WORDS: Final = {
    "steps": "steps",
    "loss": "loss over the last steps",
    "text_loss": "of it text, nats a token",
    "image_loss": "of it image codes, nats a token",
    "tokens_per_s": "tokens a second",
    "mfu": "share of the device's peak (MFU)",
    "memory_gib": "peak memory, GiB",
    "train_s": "seconds of training (of the last process, where it was resumed)",
    "resumed_after": "resumed after step",
    "device": "device",
    "processes": "processes",
    "parallel": "shared by",
    "threads": "CPU threads",
}
"""What `log/run.json` says, in words; names that are not here are printed as they are."""


@dataclass(frozen=True, slots=True)
class Model:
    """What there is to tell of one checkpoint."""

    closure: Closure
    """Of the checkpoint, which comes first."""
    recipe: Mapping[str, Any]
    """As it was resolved."""
    run: Mapping[str, Any]
    """What the run says of itself."""
    parts: Sequence[Part]
    """Samples that it was trained on, by source and licence."""
    vocabulary: Mapping[str, Any]
    """The shards' `vocabulary.json`."""
    scores: Sequence[Score]
    """Published ones of this very checkpoint."""
    scores_origin: str
    """Which artifact they are, or why there are none."""
    files: Sequence[FileEntry]
    """What lies beside the card."""

    @property
    def manifest(self) -> Manifest:
        """The checkpoint's."""
        return next(iter(self.closure.nodes.values()))

    @property
    def name(self) -> str:
        """`medmax-<recipe>`."""
        return f"medmax-{self.manifest.key.rpartition('/')[2]}"

    def behind(self, key: str) -> Manifest | None:
        """An artifact behind the checkpoint."""
        return next((manifest for manifest in self.closure.nodes.values() if manifest.key == key), None)


class Base(NamedTuple):
    """The model before tuning, in words."""

    what: str
    repo: str
    """On the hub; empty where there is none."""
    licence: str
    terms: str
    """Where they stand; empty where nobody recorded it."""


def base_of(model: Model) -> Base:
    """What the checkpoint was tuned from."""
    manifest = model.behind("base_model")
    if manifest is None:
        return Base(ABSENT, "", ABSENT, "")
    record = PUBLISHED.get(str(manifest.params.get("name")))
    if record is None:
        what = f"a network initialised from seed {manifest.params.get('seed')}, no published model"
        return Base(what, "", "; ".join(manifest.licences) or ABSENT, "")
    weights = model.behind(f"weights/{record.key}")
    revision = weights.revision if weights is not None and weights.revision else ABSENT
    what = f"[{record.title}]({record.access.page}), revision {revision}"
    return Base(what, record.access.repo, record.licence.name, record.licence.page)


def readme(model: Model) -> str:
    """The card: a YAML header as hubs read it, then Markdown."""
    base, repos = base_of(model), _repos(model)
    licences = {base.licence, *(part.licence for part in model.parts)}
    header: dict[str, Any] = {
        "license": "other",
        "license_name": next(iter(licences)).lower().replace(" ", "-") if len(licences) == 1 else "mixed",
        "license_link": "README.md",
        "language": ["en"],
        "library_name": "transformers",
        "pipeline_tag": "any-to-any",
        "tags": ["medical", "biomedical", "chameleon", "mixed-modal", "image-generation", "visual-question-answering"],
    }
    header |= {"base_model": base.repo} if base.repo else {}
    header |= {"datasets": repos} if repos else {}
    chapters = (_opening, _terms, _use, _data, _training, _scores, _origins)
    body = "\n\n".join("\n".join(chapter(model)) for chapter in chapters)
    return f"---\n{yaml.safe_dump(header, sort_keys=False).rstrip()}\n---\n\n{body}\n"


def _repos(model: Model) -> list[str]:
    """Data sets on the hub that it was trained on."""
    known = {part.source for part in model.parts} & SOURCES.keys()
    access = [SOURCES[source].access for source in sorted(known)]
    return sorted({each.repo for each in access if each.repo and each.repo_type == "dataset"})


def _opening(model: Model) -> Iterator[str]:
    base, adapter = base_of(model), model.recipe["adapter"]
    how = "all of the transformer" if adapter["kind"] == "full" else f"LoRA of rank {adapter['rank']}, merged"
    yield f"# {model.name}\n"
    yield "**For research. Not for clinical use: nothing it says or draws may decide about a patient.**\n"
    if model.behind(SAMPLE) is not None:
        yield (
            "**Made of the embedded sample: a tiny model, pictures out of packages and partly drawn data. No figure "
            "here says anything about the published models.**\n"
        )
    yield (
        "A mixed-modal model for biomedicine: text and pictures in, text and pictures out, all as tokens of one "
        f"vocabulary. Tuned ({how}) from {base.what}, after {CITATION} (<{PAPER}>)."
    )


def _terms(model: Model) -> Iterator[str]:
    base = base_of(model)
    yield "## Licences\n"
    yield f"- The base model: {f'[{base.licence}]({base.terms})' if base.terms else base.licence}."
    licences = sorted({part.licence for part in model.parts})
    yield f"- The data it was tuned on: {'; '.join(licences) or ABSENT}. Source by source below."
    secret = sorted({part.source for part in model.parts if part.credentialed})
    if secret or model.manifest.credentialed:
        yield (
            f"- **Tuned on credentialed samples ({', '.join(secret) or ABSENT}).** A model can give back what it was "
            "tuned on; their agreements bind it too. Hand it only to people who have signed them:"
        )
        yield from (f"  - {SOURCES[name].title}: <{SOURCES[name].access.page}>" for name in secret if name in SOURCES)
    else:
        yield "- No credentialed sample was tuned on."
    strict = [f"{warning.partition('): ')[0]})" for warning in licence_warnings(model.parts)]
    if strict:
        yield (
            f"- Look before handing this on: {'; '.join(strict)}. Their terms are not known to let everything be done "
            "with the data; whether they bind a model tuned on it is not settled here."
        )


def _use(model: Model) -> Iterator[str]:
    yield "## Use\n"
    yield "With stock transformers, for text. Ids that stand for pictures are masked there, so nothing is drawn:\n"
    yield (
        "```python\n"
        "from transformers import AutoTokenizer, ChameleonForConditionalGeneration\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
        'model = ChameleonForConditionalGeneration.from_pretrained("FOLDER", dtype="auto")\n'
        'messages = [{"role": "user", "content": "What is a lymph node?"}]\n'
        'asked = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)\n'
        'reply = model.generate(**asked, max_new_tokens=64)[0, asked["input_ids"].shape[1] :]\n'
        "print(tokenizer.decode(reply, skip_special_tokens=True))\n"
        "```\n"
    )
    yield (
        "A prompt is `<s>`, the question, `<reserved08706>`, as the chat template writes it; there is no system "
        "prompt. The processor of transformers prepares pictures nearly but not exactly as in training. With "
        "medmax_pipeline, `medmax encode` gives a picture's codes, `MixedModalChameleon.load` the model with nothing "
        "masked, and `medmax convert` Chameleon's original form.\n"
    )
    if model.recipe["adapter"]["kind"] == "lora":
        yield "`adapter/` holds the LoRA matrices alone, for `PeftModel.from_pretrained` on the base model.\n"
    else:
        yield "Full tuning gives each head query and key norms of its own, which the original form cannot hold.\n"
    yield (
        "Limits that the paper names of such models: one picture a question, artefacts of text inside drawn pictures, "
        "open answers scored by a language model with a taste of its own. What it was not scored on below is not known."
    )


def _data(model: Model) -> Iterator[str]:
    total = sum(part.samples for part in model.parts)
    yield f"## Data\n\n{total:,} samples.\n"
    yield from parts_table(model.parts)
    if total:
        by_source: dict[str, int] = {}
        for part in model.parts:
            by_source[part.source] = by_source.get(part.source, 0) + part.samples
        shares = ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in sorted(by_source.items()))
        yield f"\nShares of samples: {shares}."
    left = list(_left_out(model))
    if left:
        yield "\nWhat was left out, and why:\n"
        yield from left


def _left_out(model: Model) -> Iterator[str]:
    """Locked sources, and what curation and the mixture dropped, by reason."""
    shards = model.behind(f"shards/{model.manifest.key.rpartition('/')[2]}")
    for key in sorted(entry.key for entry in shards.inputs) if shards is not None else ():
        manifest = model.behind(key)
        if manifest is None or not key.endswith("/curated"):
            continue
        if manifest.lock is not None:
            yield f"- {key.removesuffix('/curated')}: not used, {manifest.lock.reason}"
        elif manifest.counts.dropped:
            yield f"- {key}: {_reasons(manifest.counts.dropped)}"
    if shards is not None and shards.counts.dropped:
        yield f"- the mixture: {_reasons(shards.counts.dropped)}"


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items()))


def _training(model: Model) -> Iterator[str]:
    yield "## Training\n\n![training loss by step](log/curve.png)\n"
    yield "| | |\n| --- | --- |"
    for name in sorted(model.run, key=lambda name: [*RUN_WORDS, name].index(name)):
        value = model.run[name]
        if value is not None:
            yield f"| {RUN_WORDS.get(name, name)} | {f'{value:,}' if _number(value) else value} |"
    shards = model.behind(f"shards/{model.manifest.key.rpartition('/')[2]}")
    tokens = shards.summary.get("tokens") if shards is not None else None
    yield f"| tokens in an epoch | {f'{tokens:,}' if isinstance(tokens, int) else ABSENT} |"
    yield f"| wall time of the whole step, s | {model.manifest.wall_s:,.1f} |"
    versions = (f"{name} {version}" for name, version in sorted(model.manifest.versions.items()))
    yield f"| made with | {', '.join(versions) or ABSENT} |"
    yield "\nThe recipe, as it was resolved:\n\n```json"
    yield json.dumps(model.recipe, indent=1, ensure_ascii=False)
    yield "```"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scores(model: Model) -> Iterator[str]:
    yield "## Scores\n"
    recipe = model.manifest.key.rpartition("/")[2]
    rows = [score for score in model.scores if score.model == recipe and not score.part]
    if not rows:
        yield f"None: {model.scores_origin}."
        return
    yield (
        f"From {model.scores_origin}. Intervals of 95 % resample pictures; gains are over the base model, on the items "
        "that both were scored on.\n"
    )
    yield (
        "| task | metric | value | 95 % interval | gain over base | items | scorer |\n| "
        + " | ".join(["---"] * 7)
        + " |"
    )
    for score in rows:
        if score.status == "ok" and score.value is not None:
            gain = "" if score.gain is None else _value(score.gain, score, "+")
            gain += f" [{_range(score, 'gain_', '+')}]" if score.gain_low is not None else ""
            metric = f"**{score.metric}**" if score.headline else score.metric
            yield (
                f"| {score.task} | {metric} | {_value(score.value, score)} | {_range(score)} | {gain} | "
                f"{score.n_scored}/{score.n} | {_cell(score.scorer)} |"
            )
    locked: dict[str, set[str]] = {}
    for score in rows:
        if score.status != "ok":
            locked.setdefault(score.reason, set()).add(score.task)
    if locked:
        yield "\nWithout a value:\n"
        yield from (f"- {', '.join(sorted(tasks))}: {reason}" for reason, tasks in sorted(locked.items()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _value(value: float, score: Score, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} %" if score.share else f"{value:{sign}.3f}"


def _range(score: Score, prefix: str = "", sign: str = "") -> str:
    low, high = getattr(score, f"{prefix}low"), getattr(score, f"{prefix}high")
    return "" if low is None or high is None else f"{_value(low, score, sign)} to {_value(high, score, sign)}"


def _origins(model: Model) -> Iterator[str]:
    manifest, told = model.manifest, model.vocabulary
    yield "## Where it comes from\n"
    yield f"`{manifest.key}`, fingerprint `{manifest.fingerprint}`, content digest `{manifest.digest}`.\n"
    yield f"- text tokenizer: `tokenizer.json`, sha256 `{told.get('text_tokenizer', ABSENT)}`"
    codebook = told.get("codebook", ABSENT)
    yield f"- image tokenizer: digest `{told.get('image_tokenizer', ABSENT)}`, codebook `{codebook}`"
    yield f"- everything behind it, down to raw files: `medmax lineage {manifest.key}` in the build that made it\n"
    yield "Artifacts behind it; a credentialed one holds such rows, whether or not they were tuned on.\n"
    yield "| made of | digest | licences |\n| --- | --- | --- |"
    for other in list(model.closure.nodes.values())[1:]:
        flag = ", credentialed" if other.credentialed else ""
        yield f"| `{other.key}` | `{other.digest[:16]}` | {', '.join(other.licences)}{flag} |"
    yield "\n| file | size | sha256 |\n| --- | --- | --- |"
    yield from (f"| `{file.path}` | {decimal_size(file.bytes)} | `{file.sha256}` |" for file in model.files)
