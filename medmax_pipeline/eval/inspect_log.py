"""A published evaluation as a log of inspect_ai, which `inspect view` shows item by item with its pictures.

The `.eval` form: a zip of JSON, one member an item, so that a viewer reads only what is looked at. The form is that of
inspect_ai 0.3, log version 2; the library is needed to read a log, not to write one. Pictures are embedded, at most
1,024 px a side, once an item. Credentialed items are left out and counted unless they are asked for: a log is made to
be handed on. What a record holds is `records.py`; nothing is computed here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from medmax_pipeline.errors import ImageError, StoreError
from medmax_pipeline.eval.publish import scorers_told
from medmax_pipeline.eval.records import IMAGES, ITEMS, ItemRecord, read_records
from medmax_pipeline.eval.scorers import bound
from medmax_pipeline.eval.scores import Score, score_task
from medmax_pipeline.eval.task import Task
from medmax_pipeline.eval.tasks import TASKS, task
from medmax_pipeline.files import open_atomic
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import MANIFEST
from medmax_pipeline.records import IMAGE
from medmax_pipeline.steps import Artifact

LOG_VERSION: Final = 2
SIDE_PX: Final = 1024
"""Ours: enough to look at, and ten thousand of them stay below a few gigabytes."""
SHOWN_ABOVE: Final = "[picture]"
NOT_HERE: Final = "[picture not here: {}]"
ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)

Read = Callable[[str], bytes]
Fields = dict[str, Any]


@dataclass(eq=False)
class _Pictures:
    """The pictures of one item, by the digest under which its messages name them."""

    source: Read
    folder: Path
    attachments: dict[str, str] = field(default_factory=dict)

    def shown(self, image_id: str) -> Fields:
        """A source's picture as a part of a message; in words where its file is not here."""
        try:
            return self._part(small_png(self.source(image_id)))
        except ImageError as error:
            return {"type": "text", "text": NOT_HERE.format(error.reason)}

    def drawn(self, name: str) -> Fields:
        """A generated picture as a part of a message."""
        return self._part((self.folder / IMAGES / f"{name}.png").read_bytes())

    def _part(self, data: bytes) -> Fields:
        text = "data:image/png;base64," + base64.b64encode(data).decode()
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.attachments[name] = text
        return {"type": "image", "image": f"attachment://{name}", "detail": "auto"}


def small_png(data: bytes) -> bytes:
    """A picture file as PNG, RGB, at most 1,024 px a side.

    Raises:
        ImageError: it cannot be decoded.
    """
    from PIL import Image

    from medmax_pipeline.tokens.image import decode

    picture = Image.fromarray(decode(data)).convert("RGB")
    picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def export_logs(ledger: Ledger, key: str, out: Path, *, credentialed: bool = False) -> list[Path]:
    """Write a log for every published evaluation whose key is `key` or begins with it.

    Args:
        ledger: the build's store.
        key: `eval/sample/vqa_rad/open` for one, `eval/sample` for all of a model.
        out: folder of logs; one of the same name is replaced.
        credentialed: put credentialed items into the logs too.

    Raises:
        StoreError: nothing with an item to show is published under that key.
    """
    found = [artifact for name in suite_of(key) if (artifact := ledger.current(name)) is not None]
    whole = [one for one in found if len(found) == 1 or not (one.locked or _hidden(one, credentialed))]
    if not key.startswith("eval/") or not whole:
        raise StoreError(f"{key}: no published evaluation; expected eval/<recipe>/<task>, or eval/<recipe> for all.")
    made = []
    for artifact in whole:
        manifest = artifact.manifest
        this = bound(task(str(manifest.params["task"])), *scorers_told(artifact.folder))
        samples = next(entry for entry in manifest.inputs if entry.key == f"{manifest.params['source']}/samples")
        tables = [ledger.folder(samples.key, samples.fingerprint) / "images.parquet"]
        with ImageReader(ledger.landing, [path for path in tables if path.is_file()]) as reader:
            made.append(export_log(artifact, this, reader.read, out, credentialed=credentialed))
    return made


def _hidden(artifact: Artifact, credentialed: bool) -> bool:
    """Whether none of its items may be shown."""
    return not credentialed and all(record.credentialed for record in read_records(artifact.folder / ITEMS))


def suite_of(key: str) -> list[str]:
    """Keys of evaluations that `key` names: itself where it names a task, else those of a model."""
    model = "/".join(key.rstrip("/").split("/")[:2])
    return [name for each in TASKS if (name := f"{model}/{each}") and f"{name}/".startswith(f"{key.rstrip('/')}/")]


def export_log(artifact: Artifact, this: Task, picture: Read, out: Path, *, credentialed: bool = False) -> Path:
    """Write the log of one published evaluation.

    Args:
        artifact: an `eval/<model>/<task>`.
        this: its task, bound to the scorers that it was scored by.
        picture: file bytes of a source's picture by image id; ImageError where they are not here.
        out: folder of logs.
        credentialed: put credentialed items into the log too.

    Returns:
        the log's path, named after time, task and model as inspect_ai names its own.

    Raises:
        StoreError: the evaluation is locked, or no item may be shown.
    """
    key = artifact.manifest.key
    if artifact.manifest.lock is not None:
        raise StoreError(f"{key}: is locked and has no records. {artifact.manifest.lock.reason}")
    records = read_records(artifact.folder / ITEMS)
    shown = [record for record in records if credentialed or not record.credentialed]
    if not shown:
        raise StoreError(f"{key}: all {len(records)} items are credentialed; --credentialed puts them into the log.")
    made = datetime.fromtimestamp((artifact.folder / MANIFEST).stat().st_mtime, UTC).replace(microsecond=0)
    spec = _spec(artifact, this, shown[0].model, len(shown), made)
    spec["metadata"] = {"items_left_out": len(records) - len(shown), "fingerprint": artifact.manifest.fingerprint}
    name = f"{made:%Y-%m-%dT%H-%M-%S+00-00}_{key.replace('/', '-')}_{artifact.manifest.fingerprint[:12]}.eval"
    samples = (_sample(record, _Pictures(picture, artifact.folder)) for record in shown)
    _write(out / name, spec, _results(score_task(this, shown), len(shown)), samples)
    return out / name


def _spec(artifact: Artifact, this: Task, model: str, count: int, made: datetime) -> Fields:
    manifest = artifact.manifest
    return {
        "eval_id": manifest.fingerprint[:22],
        "run_id": manifest.digest[:22],
        "created": made.isoformat(),
        "task": this.key,
        "task_id": manifest.fingerprint[:22],
        "task_version": manifest.code_version,
        "task_args": {name: value for name, value in manifest.params.items() if isinstance(value, str | int | float)},
        "dataset": {"name": str(manifest.params.get("source", this.source)), "samples": count, "shuffled": False},
        "model": f"medmax/{model}",
        "config": {},
        "packages": dict(manifest.versions),
    }


def _results(scores: Sequence[Score], count: int) -> Fields:
    """The figures over all items of the log, as `scores.py` gives them; what is locked has no value."""
    told = []
    for score in (score for score in scores if not score.part):
        parts = {"mean": score.value, "ci95_low": score.low, "ci95_high": score.high}
        known = {name: value for name, value in parts.items() if value is not None}
        values = {name: {"name": name, "value": value, "params": {}} for name, value in known.items()}
        about = {"status": score.status, "reason": score.reason, "meaning": score.meaning, "clusters": score.clusters}
        one = {"name": score.metric, "scorer": score.scorer, "params": {}, "metrics": values, "metadata": about}
        told.append(one | {"scored_samples": score.n_scored, "unscored_samples": count - score.n_scored})
    return {"total_samples": count, "completed_samples": count, "scores": told}


def _sample(record: ItemRecord, pictures: _Pictures) -> Fields:
    """One item: what was asked, what was answered, and what was made of it."""
    asked = _parts(record.prompt, [pictures.shown(image_id) for image_id in record.image_ids])
    drawn = [pictures.drawn(record.generated_image)] if record.generated_image else []
    reply = _parts(record.generated_text, drawn)
    words = " ".join(part.get("text", SHOWN_ABOVE) for part in reply)  # readers put pictures into messages only
    wanted = [pictures.drawn(record.reference_image)] if record.reference_image else []
    user = {"id": f"{record.item_id[:16]}-user", "role": "user", "content": asked}
    said = {"id": f"{record.item_id[:16]}-said", "role": "assistant", "source": "generate", "content": reply}
    messages: list[Fields] = [user, said]
    if wanted:
        text = {"type": "text", "text": "The reference picture, as the image tokenizer reconstructs it:"}
        messages.append({"id": f"{record.item_id[:16]}-ref", "role": "user", "content": [text, *wanted]})
    return {
        "id": record.item_id,
        "epoch": 1,
        "input": [user],
        "target": record.reference,
        "messages": messages,
        "output": {"model": record.model, "choices": [{"message": said | {"content": words}, "stop_reason": "stop"}]},
        "scores": {name: _score(record, name, value) for name, value in record.metrics.items()},
        "metadata": _about(record),
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": pictures.attachments,
    }


def _parts(text: str, pictures: Sequence[Fields]) -> list[Fields]:
    """A text with its pictures where it marks them; those it does not mark stand behind it."""
    left, parts = list(pictures), []
    for number, words in enumerate(text.split(IMAGE)):
        if number and left:
            parts.append(left.pop(0))
        if words.strip():
            parts.append({"type": "text", "text": words.strip()})
    return [*parts, *left] or [{"type": "text", "text": ""}]


def _score(record: ItemRecord, metric: str, value: float | None) -> Fields:
    """A figure; inspect_ai's sign for an unscored one is a value that is no number, with the reason beside it."""
    answer = next((said for said in record.predictions.values() if said), record.generated_text)
    told = {"answer": answer, "history": []}
    if value is None:
        named = [reason for reason in record.unscored.split() if metric in reason] or record.unscored.split()
        return told | {"value": float("nan"), "reason": " ".join(named)}
    return told | {"value": value, **({"explanation": "\n\n".join(record.verdicts)} if "judge" in metric else {})}


def _about(record: ItemRecord) -> Fields:
    return {
        "image_ids": list(record.image_ids),
        "cluster": record.cluster,
        "question_type": record.question_type,
        "group": record.group,
        "leaked": record.leaked,
        "option_logprobs": dict(record.option_logprobs),
        "predictions": dict(record.predictions),
        "correct_strict": record.correct_strict,
        "correct_compat": record.correct_compat,
        "verdicts": list(record.verdicts),
        "unscored": record.unscored,
        "seed": record.seed,
    }


def _write(path: Path, spec: Fields, results: Fields, samples: Iterable[Fields]) -> None:
    """The zip, one item in memory at a time; the same records give the same bytes."""
    plan = {"name": "plan", "steps": [], "config": {}}
    summaries = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, value: object) -> None:
            entry = zipfile.ZipInfo(name, ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, json.dumps(value, ensure_ascii=False).encode())

        put("_journal/start.json", {"version": LOG_VERSION, "eval": spec, "plan": plan})
        for sample in samples:
            put(f"samples/{sample['id']}_epoch_1.json", sample)
            summaries.append(_summary(sample))
        put("summaries.json", summaries)
        stats = {"started_at": spec["created"], "completed_at": spec["created"]}
        header = {"version": LOG_VERSION, "status": "success", "eval": spec, "plan": plan, "results": results}
        put("header.json", header | {"stats": stats})


def _summary(sample: Fields) -> Fields:
    """What a list of items shows of one: no pictures."""
    words = " ".join(part.get("text", "(Image)") for part in sample["input"][0]["content"])
    kept = ("id", "epoch", "target", "scores", "model_usage")
    return {name: sample[name] for name in kept} | {
        "input": words,
        "metadata": {name: sample["metadata"][name] for name in ("question_type", "group", "leaked", "unscored")},
        "completed": True,
        "message_count": len(sample["messages"]),
    }
