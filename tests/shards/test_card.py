"""Description and card of an export: valid for the library that reads it, true to manifests, silent on secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from medmax_pipeline.files import read_json, sha256_file
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.lineage import Closure, closure
from medmax_pipeline.manifest import External
from medmax_pipeline.shards.card import CONFORMS_TO, Described, Part, croissant, licence_warnings, node_name, readme
from medmax_pipeline.shards.export import Form, export
from tests.shards.exporting import KEY, build

OPEN = Part("vqa_rad", "CC0-1.0", False, 4)
SECRET = Part("mimic_cxr", "PhysioNet-Credentialed-1.5.0", True, 3)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return build(tmp_path_factory.mktemp("described"))


@pytest.fixture(scope="module", params=["packed", "portable"])
def folder(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    out = tmp_path_factory.mktemp("out")
    form: Form = request.param
    export(ledger, KEY, out, form)
    return out


def described(found: Closure, *parts: Part) -> Described:
    return Described(found, "packed", parts, (), pa.schema([("sample_id", pa.string())]), "2026-01-01")


def edges(entity: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """From output to input, over the whole tree."""
    for behind in entity.get("prov:wasDerivedFrom", ()):
        yield entity["@id"], behind["@id"]
        yield from edges(behind)


def test_mlcroissant_finds_nothing_to_say_and_reads_the_index(folder: Path) -> None:
    found = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not found.metadata.ctx.issues.errors
    assert not found.metadata.ctx.issues.warnings
    ids = [record["index/sample_id"].decode() for record in found.records("index")]
    assert ids == pq.read_table(folder / "index.parquet")["sample_id"].to_pylist()
    assert read_json(folder / "croissant.json")["conformsTo"] == CONFORMS_TO


def test_a_description_with_a_file_of_no_digest_is_refused_by_mlcroissant(folder: Path, tmp_path: Path) -> None:
    """The check above can fail."""
    value = read_json(folder / "croissant.json")
    del value["distribution"][0]["sha256"]
    (tmp_path / "croissant.json").write_text(json.dumps(value))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))


def test_the_distribution_names_every_other_file_with_its_digest(folder: Path) -> None:
    listed = {item["contentUrl"]: item["sha256"] for item in read_json(folder / "croissant.json")["distribution"]}
    others = [
        path for path in folder.iterdir() if path.suffix in (".tar", ".parquet") or path.name == "vocabulary.json"
    ]
    assert listed == {path.name: sha256_file(path) for path in others}


def test_the_provenance_is_that_of_the_manifests(ledger: Ledger, folder: Path) -> None:
    artifact = ledger.need(KEY)
    chain = closure(ledger, artifact)
    derived = read_json(folder / "croissant.json")["prov:wasDerivedFrom"]
    assert derived["@id"] == f"urn:medmax:{KEY}@{artifact.manifest.fingerprint}"
    assert derived["identifier"] == artifact.manifest.digest
    assert set(edges(derived)) == {(node_name(source), node_name(target)) for source, target in chain.edges}


def with_raw_files(found: Closure) -> Closure:
    """The same chain, each source's samples read from one raw file."""
    nodes = dict(found.nodes)
    for node, manifest in found.nodes.items():
        if node[0].endswith("/samples"):
            name = node[0].partition("/")[0]
            raw = External(f"{name}/p10/s{name}.jpg", f"{name:0>64}", 1)
            nodes[node] = replace(manifest, external=(raw,))
    return Closure(nodes, found.edges)


def test_raw_files_are_named_but_for_credentialed_sources(ledger: Ledger) -> None:
    text = json.dumps(croissant(described(with_raw_files(closure(ledger, ledger.need(KEY))), OPEN, SECRET)))
    assert "vqa_rad/p10/svqa_rad.jpg" in text
    assert "p10/smimic_cxr" not in text
    assert f"{'mimic_cxr':0>64}" not in text


def test_a_credentialed_row_hides_all_raw_files_of_its_source(ledger: Ledger) -> None:
    found = with_raw_files(closure(ledger, ledger.need(KEY)))
    nodes = {
        node: replace(manifest, credentialed=True) if node[0] == "vqa_rad/curated" else manifest
        for node, manifest in found.nodes.items()
    }
    assert "svqa_rad.jpg" not in json.dumps(croissant(described(Closure(nodes, found.edges), OPEN)))


def test_licences_are_those_of_what_is_inside(ledger: Ledger) -> None:
    value = croissant(described(closure(ledger, ledger.need(KEY)), OPEN, SECRET))
    assert value["license"] == ["https://osf.io/89kps/"]


def test_the_card_opens_with_a_header_for_hubs(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "other"
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "*.tar"}]
    assert "\n# medmax-mixed" in text


def test_the_card_tells_open_and_credentialed_parts_apart(ledger: Ledger) -> None:
    text = readme(described(closure(ledger, ledger.need(KEY)), OPEN, SECRET))
    inside, _, outside = text.partition("## What is not inside")
    assert "| [VQA-RAD](https://osf.io/89kps/) | 4 |" in inside
    assert "MIMIC" not in inside
    assert "| 3 | [PhysioNet-Credentialed-1.5.0](https://physionet.org/" in outside
    assert "Complete PhysioNet's training" in outside


def test_a_card_of_open_samples_only_speaks_of_nothing_left_out(ledger: Ledger) -> None:
    assert "not inside" not in readme(described(closure(ledger, ledger.need(KEY)), OPEN))


@pytest.mark.parametrize("licence", ["CC0-1.0", "CC-BY-4.0", "CC-BY-SA", "CC-BY-NC-4.0", "MIT", "Apache-2.0"])
def test_a_licence_that_lets_copies_go_on_is_no_warning(licence: str) -> None:
    assert not list(licence_warnings([Part("any", licence, False, 1)]))


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("CC-BY-NC-ND-3.0", "forbids redistribution of anything changed"),
        ("CC-BY-ND-4.0", "forbids redistribution of anything changed"),
        ("unstated", "not known to allow redistribution"),
        ("", "no licence named"),
        ("PhysioNet-Credentialed-1.5.0", "not known to allow redistribution"),
        ("Quilt-1M data use agreement", "not known to allow redistribution"),
    ],
)
def test_a_licence_is_warned_of_once_with_its_sources(licence: str, words: str) -> None:
    (warning,) = licence_warnings([Part("b", licence, False, 1), Part("a", licence, False, 1)])
    assert words in warning
    assert "(a, b)" in warning
