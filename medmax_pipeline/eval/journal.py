"""The journal: records of a running task, kept from the moment they are made until they are published.

JSON lines, one fsynced append a batch. A batch is there whole or it is run again, whole, so a killed evaluation ends
with the records that an undisturbed one has, none twice. What a record holds is `records.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.records import ItemRecord, record_from_json
from medmax_pipeline.files import Json, disk_errors, json_bytes, write_bytes


class Journal:
    """Records of one running task, kept as they are made; batches are numbered and their composition is fixed."""

    def __init__(self, path: Path, identity: str, batches: Sequence[Sequence[str]]) -> None:
        """Open the journal and keep the batches that are there whole.

        Args:
            path: the JSON-lines file in the task's work folder.
            identity: digest of everything that decides the records; a journal of another identity is begun anew.
            batches: the item ids of every batch, in order.
        """
        self._path = path
        self._batches = batches
        self.done: dict[int, list[ItemRecord]] = self._read(identity)
        lines = [json_bytes({"identity": identity})]
        lines += [_line(number, self.done[number]) for number in sorted(self.done)]
        with disk_errors(path):
            write_bytes(path, b"".join(lines))

    def _read(self, identity: str) -> dict[int, list[ItemRecord]]:
        if not self._path.exists():
            return {}
        values = []
        for line in self._path.read_bytes().splitlines():
            try:
                values.append(json.loads(line))
            except ValueError:  # the append that the kill cut short; nothing whole can follow it
                break
        if not values or values[0] != {"identity": identity}:
            return {}
        done = {}
        for value in values[1:]:
            records = [record_from_json(each) for each in value["records"]]
            if [record.item_id for record in records] == list(self._batches[value["batch"]]):
                done[int(value["batch"])] = records
        return done

    def append(self, number: int, records: Sequence[ItemRecord]) -> None:
        """Keep a batch's records for good before the next batch begins.

        Raises:
            StoreError: they are not those of the batch, or the batch is there already.
        """
        expected = list(self._batches[number])
        found = [record.item_id for record in records]
        if found != expected or number in self.done:
            raise StoreError(f"batch {number}: records of {found[:3]}… given, expected {expected[:3]}…, each once.")
        with disk_errors(self._path), self._path.open("ab") as handle:
            handle.write(_line(number, records))
            handle.flush()
            os.fsync(handle.fileno())
        self.done[number] = list(records)

    def records(self) -> list[ItemRecord]:
        """All records, by item id.

        Raises:
            StoreError: a batch has not been run.
        """
        missing = [number for number in range(len(self._batches)) if number not in self.done]
        if missing:
            raise StoreError(f"{self._path}: batches {missing[:5]} have no records; all or none are published.")
        return sorted((each for batch in self.done.values() for each in batch), key=lambda each: each.item_id)


def _line(number: int, records: Sequence[ItemRecord]) -> bytes:
    value: dict[str, Json] = {"batch": number, "records": [record.to_json() for record in records]}
    return json_bytes(value)
