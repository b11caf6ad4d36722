"""The graph of the paper's build where nothing is: it runs to its end, and everything says why it is locked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from medmax_pipeline import graph
from medmax_pipeline.config import load
from medmax_pipeline.ledger import Ledger


def test_the_papers_build_without_files_token_and_network_ends_with_its_locks(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name(*arguments: object, **named: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MEDMAX_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MEDMAX_LANDING", str(tmp_path / "landing"))
    monkeypatch.setattr("socket.getaddrinfo", no_name)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    settings = load(project / "configs" / "medmax_7b.toml")
    ledger = Ledger(settings.store, settings.build.name, settings.landing)
    steps = graph.steps(settings)
    locked = {}
    for step in steps:
        artifact, _ = ledger.execute(step)
        if artifact.manifest.lock is not None:
            locked[step.key] = artifact.manifest.lock
    rows = ("/raw", "/samples", "/curated")
    models = ("weights/", "shards/", "checkpoint/", "eval/", "image_codes")
    assert not [
        step.key
        for step in steps
        if step.key not in locked and (step.key.endswith(rows) or step.key.startswith(models))
    ]
    assert "no hub token" in locked["quilt_vqa/raw"].reason
    assert "HF_HUB_OFFLINE" in locked["pmc_oa/raw"].reason
    assert "cannot be reached" in locked["llava_med_pmc/raw"].reason
    assert "PhysioNet" in locked["mimic_cxr/raw"].cure
    assert all(lock.cure for lock in locked.values())
    again = {planned.key: planned.action for planned in ledger.plan(steps)}
    assert again["pmc_oa/raw"] == "fetch"
    assert again["quilt_vqa/raw"] == "locked"
