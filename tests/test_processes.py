"""Modules run as processes, without the orchestrator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medmax_pipeline.errors import LaunchError
from medmax_pipeline.processes import TAIL_LINES, run_module, watch

BODY = """
import os, sys
for number in range(int(sys.argv[1])):
    print("line", number)
print(os.environ.get("TOLD", ""), file=sys.stderr)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `launched` that prints some lines and ends with a code."""
    (tmp_path / "launched.py").write_text(BODY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_every_line_is_told() -> None:
    lines: list[str] = []
    run_module(["launched", "3", "0"], lines.append)
    assert lines == ["line 0", "line 1", "line 2", ""]


def test_a_bad_end_is_an_error_with_the_end_of_its_output() -> None:
    with pytest.raises(LaunchError) as caught:
        run_module(["launched", "100", "3"], lambda line: None)
    told = str(caught.value).splitlines()
    assert told[0] == "`python -m launched 100 3` ended with exit code 3. The end of its output:"
    assert told[1] == f"line {101 - TAIL_LINES}"


def test_it_gets_the_environment_of_this_process_and_what_is_added() -> None:
    _, tail = watch(["launched", "0", "0"], {"TOLD": "twice"}, 1.0, lambda line: None)
    assert tail == ["twice"]
    assert "TOLD" not in os.environ
