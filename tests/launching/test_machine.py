"""The machine file: what it says, and every way in which it can say it wrongly."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.launching.machine import Machine, read_machines

SLURM = """
[training]
kind = "slurm"
nodes = 2
gpus_per_node = 8
hours = 12
arguments = ["--parallel", "fsdp"]
[training.slurm]
partition = "gpu"
prelude = ["module load cuda"]
[evaluation]
environment = { CUDA_VISIBLE_DEVICES = "0" }
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "machines.toml"
    path.write_text(text)
    return path


def test_each_kind_of_work_has_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMAX_LAUNCH_FILE", str(written(tmp_path, SLURM)))
    machines = read_machines()
    for module in ("medmax_pipeline.training", "medmax_pipeline.training.tokenizer"):
        machine = machines.of(module)
        assert (machine.kind, machine.nodes, machine.hours) == ("slurm", 2, 12.0)
        assert machine.slurm is not None
        assert machine.slurm.partition == "gpu"
    assert machines.of("medmax_pipeline.eval").environment == {"CUDA_VISIBLE_DEVICES": "0"}
    assert machines.of("medmax_pipeline.evaluated") == machines.of("medmax_pipeline.tokens") == Machine()


def test_without_a_file_everything_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDMAX_LAUNCH_FILE", raising=False)
    assert read_machines().of("medmax_pipeline.training") == Machine()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[trainin]\n", "unknown key trainin"),
        ("[training]\nkind = 'pbs'\n", "expected one of 'local', 'slurm', 'ray', 'k8s'"),
        ("[training.slurm]\nqueue = 'x'\n", "unknown key training.slurm.queue"),
        ("[training]\nkind = 'ray'\n[training.slurm]\npartition = 'x'\n", "has kind 'ray' and a table for slurm"),
        ("[training]\nkind = 'k8s'\n", "needs a table k8s with the image"),
        ("[training]\nnodes = 2\n", "kind 'local' runs on one, several need slurm"),
        ("[training]\ngrace_s = -1\ncpus = -2\n", "grace_s is -1.0, at least 0 expected; cpus is -2"),
        ("[training]\nkind = 'slurm'\n[training.slurm]\npoll_s = 0\n", "slurm.poll_s is 0.0"),
        ("[training\n", "not readable as TOML"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_name(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=f"machines.toml.*{re.escape(fault)}"):
        read_machines(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MEDMAX_LAUNCH_FILE must name a machine file"):
        read_machines(tmp_path / "absent.toml")


def test_every_example_of_the_manual_is_a_machine_file(project: Path, tmp_path: Path) -> None:
    text = (project / "docs" / "launching.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    kinds = {table.get("kind", "local") for example in examples for table in tomllib.loads(example).values()}
    assert kinds == {"local", "slurm", "ray", "k8s"}
    for example in examples:
        read_machines(written(tmp_path, example))
