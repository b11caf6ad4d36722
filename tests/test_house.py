"""The walls of the house. A failure says how to mend it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import absent

PACKAGE = Path(__file__).resolve().parent.parent / "medmax_pipeline"
PROJECT = PACKAGE.parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
LIGHT = ("sources", "ingest", "curation", "shards", "report", "graph", "cli", "definitions", "sample.step")
"""Rooms and modules whose import must load no torch."""
BARE = ("tokens", "models", "training", "eval")
"""Rooms that run on a GPU machine that carries little: none of `HEAVY` may be imported there."""
HEAVY = ("polars", "pydantic", "webdataset", "dagster")


def tracked() -> list[Path]:
    """Files that git knows, or every file of the project where git is absent."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        absent("checkout", "not a git checkout: there is no list of the project's files")
    return [PROJECT / name for name in listed.stdout.split("\0") if name and (PROJECT / name).exists()]


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_dagster_lives_in_its_three_places() -> None:
    allowed = {PACKAGE / "assets", PACKAGE / "resources", PACKAGE / "definitions.py"}
    outside = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in MODULES
        if not allowed & {path, *path.parents}
        for name in imports_of(path)
        if name.split(".")[0].startswith("dagster")
    ]
    assert not outside, f"hand plain objects to the library rooms instead: {outside}"


def test_rooms_for_bare_machines_import_nothing_they_lack() -> None:
    outside = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for room in BARE
        for path in (PACKAGE / room).rglob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] in HEAVY
    ]
    assert not outside, f"{outside}: GPU machines carry none of {HEAVY}"


def test_no_library_room_imports_assets_or_resources() -> None:
    allowed = {PACKAGE / "assets", PACKAGE / "resources", PACKAGE / "definitions.py"}
    upward = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in MODULES
        if not allowed & {path, *path.parents}
        for name in imports_of(path)
        if name.startswith(("medmax_pipeline.assets", "medmax_pipeline.resources", "medmax_pipeline.definitions"))
    ]
    assert not upward, f"arrows point down: {upward}"


def test_only_the_sample_build_imports_the_sample() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for name in imports_of(path)
        if name.startswith("medmax_pipeline.sample") and PACKAGE / "sample" not in path.parents
    }
    known = {"graph.py", "models/endpoint.py"}  # the corpus, and the rules of endpoints of kind `sample`
    assert users <= known, f"{users}: only what opens the sample build's own may know the embedded corpus"


@pytest.mark.parametrize("name", ["graph", "cli", "definitions"])
def test_the_graph_can_be_read_without_the_libraries_that_do_the_work(name: str) -> None:
    """What keeps the import of the definitions near that of Dagster itself."""
    code = (
        f"import sys, medmax_pipeline.{name}\n"
        "print([m for m in ('numpy', 'pyarrow', 'PIL', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.stdout.strip() == "[]", f"{name}: steps import what they do when they run. {done.stderr}"


@pytest.mark.parametrize("name", LIGHT)
def test_importing_a_light_room_loads_no_network_library(name: str) -> None:
    code = (
        f"import sys, medmax_pipeline.{name}\n"
        "print([m for m in ('torch', 'transformers', 'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.stdout.strip() == "[]", f"{name}: import heavy libraries in the function that needs them. {done.stderr}"


def test_every_module_says_what_belongs_there() -> None:
    silent = [str(path.relative_to(PROJECT)) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent, f"open with what belongs here and what does not: {silent}"


def test_no_module_is_longer_than_the_wall() -> None:
    long = {str(path.relative_to(PROJECT)): n for path in MODULES if (n := len(path.read_text().splitlines())) > 400}
    assert not long, f"over {LONGEST_MODULE} lines; split by what changes together: {long}"


def test_no_function_is_longer_than_the_wall() -> None:
    long = [
        f"{path.relative_to(PROJECT)}:{node.name} {length}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, f"over {LONGEST_FUNCTION} lines: {long}"


def test_public_names_are_documented() -> None:
    bare = []
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):  # type: ignore[arg-type]
                bare.append(f"{path.relative_to(PROJECT)}:{node.name}")  # type: ignore[attr-defined]
    assert not bare, f"say shapes, units, errors: {bare}"


def test_no_room_has_a_name_that_says_nothing() -> None:
    words = {"utils", "util", "helpers", "helper", "common", "misc", "legacy", "v2", "base"}
    vague = [str(path.relative_to(PROJECT)) for path in MODULES if words & set(path.stem.split("_"))]
    assert not vague, f"name the thing: {vague}"


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    pattern = re.compile(rf"(?<![\w.>/-])(/home/\w+|/Users/\w+|/root|{re.escape(str(PROJECT.parent))})/")
    found = []
    for path in tracked():
        if path.suffix in {".png", ".safetensors", ".parquet"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line) and path != Path(__file__).resolve():
                found.append(f"{path.relative_to(PROJECT)}:{number}")
    assert not found, f"paths hold on one machine only: {found}"


def test_the_readmes_tree_is_the_packages() -> None:
    text = (PROJECT / "README.md").read_text()
    block = text.split("```text\nmedmax_pipeline/\n", 1)[1].split("```", 1)[0]
    told = {line.split()[0].rstrip("/") for line in block.splitlines() if re.match(r"  \S", line)}
    real = {p.name for p in PACKAGE.iterdir() if not p.name.startswith(("_", ".")) and p.name != "py.typed"}
    assert told == real, f"README's tree: missing {real - told}, gone {told - real}"


def test_the_readmes_files_to_read_exist() -> None:
    text = (PROJECT / "README.md").read_text()
    named = re.findall(r"`((?:medmax_pipeline|configs|docs|tests)/[\w./]+)`", text)
    absent = [name for name in named if not (PROJECT / name).exists()]
    assert named
    assert not absent, f"README names files that do not exist: {absent}"


def test_the_readmes_make_targets_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for document in ("README.md", "CONTRIBUTING.md"):
        for target in set(re.findall(r"`?make ([a-z-]+)", (PROJECT / document).read_text())):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document} names make {target}"


def test_the_code_location_has_one_name() -> None:
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    name = pyproject["tool"]["dg"]["project"]["code_location_name"]
    assert f"location_name: {name}\n" in (PROJECT / "workspace.yaml").read_text()


def test_every_package_that_is_imported_is_declared() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    declared = {Requirement(text).name.lower().replace("-", "_") for text in wanted}
    called = {
        "PIL": "pillow",
        "yaml": "pyyaml",
        "openslide": "openslide_python",
        "dagster_pipes": "dagster",
        "open_clip": "open_clip_torch",
    }
    known = {*sys.stdlib_module_names, "medmax_pipeline", "_typeshed"}
    names = {name.split(".")[0] for path in MODULES for name in imports_of(path)} - known
    strange = sorted(name for name in names if called.get(name, name).lower() not in declared)
    assert not strange, f"{strange}: what another package happens to bring may go with its next release"


def test_every_pin_of_the_constraints_meets_the_projects_ranges() -> None:
    from packaging.requirements import Requirement

    pins = dict(
        line.strip().lower().replace("_", "-").split("==")
        for line in (PROJECT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for text in wanted:
        requirement = Requirement(text)
        pin = pins.get(requirement.name.lower().replace("_", "-"))
        assert pin is not None, f"constraints.txt pins no {requirement.name}"
        assert requirement.specifier.contains(pin), f"{text} does not admit the pinned {pin}"
