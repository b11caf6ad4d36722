"""A small line up to codes: weights, landing files, samples and curated samples as steps of a real ledger."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import torch

from medmax_pipeline.arrow import IMAGE_SCHEMA, samples_to_table
from medmax_pipeline.errors import LaunchError
from medmax_pipeline.files import sha256_bytes, write_table
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import Lock
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.steps import Artifact, Outcome, Run, Step, in_order
from medmax_pipeline.tokens.__main__ import main


@dataclass
class Line:
    """Sources as samples and picture files; `steps` makes every step above codes."""

    weights: Path
    """Folder with `vqgan` and `text`."""
    samples: Mapping[str, Sequence[Sample]]
    """By source; train and eval rows. All train rows survive curation."""
    files: Mapping[str, Sequence[bytes]]
    """By source: bytes of its picture files."""
    locked: Sequence[str] = ()
    spawn: bool = False
    """Importing torch costs seconds: only tests of the launch itself pay for it."""
    launched: list[list[str]] = field(default_factory=list)

    def run(self, store: Path, steps: Sequence[Step]) -> tuple[Ledger, dict[str, Artifact]]:
        """Lay the files out and execute these steps with everything above them."""
        ledger = Ledger(store, "test", store / "landing")
        for source, files in self.files.items():
            for data in files:
                path = store / "landing" / source / f"{sha256_bytes(data)[:8]}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        made = {}
        for step in in_order([*self.steps(), *steps]):
            made[step.key], _ = ledger.execute(step, launch=self.launch)
        return ledger, made

    def launch(self, arguments: Sequence[str], *, state: Path | None = None) -> None:
        """Encode as the arguments say, in a process where `spawn` asks for one; remembered in `launched`."""
        self.launched.append(list(arguments))
        if not self.spawn:
            assert arguments[0] == "medmax_pipeline.tokens"
            assert main(list(arguments[1:])) == 0
            torch.use_deterministic_algorithms(False)
            return
        done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LaunchError(done.stderr)

    def steps(self) -> list[Step]:
        """Weights, samples and curated samples."""
        made = [self._weights("image_tokenizer", "vqgan"), self._weights("text_tokenizer", "text")]
        for source, samples in self.samples.items():
            lock = self._lock if source in self.locked else None
            kept = [sample for sample in samples if sample.split == "train"]
            tables = {"samples.parquet": samples_to_table(samples), "images.parquet": self._images(source)}
            made.append(_tables_step(f"{source}/samples", tables, samples, lock))
            made.append(_tables_step(f"{source}/curated", {"samples.parquet": samples_to_table(kept)}, samples, lock))
        return made

    def _weights(self, key: str, name: str) -> Step:
        def run(ctx: Run) -> Outcome:
            shutil.copytree(self.weights / name, ctx.out, dirs_exist_ok=True)
            return Outcome(licences=("Apache-2.0",))

        return Step(key, run, "1")

    def _lock(self, landing: Path) -> Lock:
        return Lock("no credential", "ask for one")

    def _images(self, source: str) -> pa.Table:
        rows = []
        for data in self.files.get(source, ()):
            image_id = sha256_bytes(data)
            place = {"folder": source, "file": f"{image_id[:8]}.png", "member": "", "kind": "loose", "bytes": len(data)}
            numbers = {"offset": 0, "packed": 0, "crc": 0}
            rows.append(dict.fromkeys(IMAGE_SCHEMA.names) | {"image_id": image_id, "source": source} | place | numbers)
        return pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA)


def _tables_step(
    key: str, tables: Mapping[str, pa.Table], samples: Sequence[Sample], lock: Callable[[Path], Lock | None] | None
) -> Step:
    def run(ctx: Run) -> Outcome:
        for name, table in tables.items():
            write_table(ctx.out / name, table)
        credentialed = any(sample.credentialed for sample in samples)
        licences = tuple({sample.licence for sample in samples})
        return Outcome(counts=Counts(len(samples), len(samples)), licences=licences, credentialed=credentialed)

    params = {name: sha256_bytes(repr(table.to_pylist()).encode()) for name, table in tables.items()}
    return Step(key, run, "1", lock=lock, params=dict(params))
