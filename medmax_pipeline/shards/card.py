"""What others are told of exported shards: a Croissant 1.1 description with provenance, and a card for a hub.

Made of manifests, the index and the sources' records alone. Credentialed content is told by source, licence and number,
never by file, picture or text. What is written beside the description belongs to `export.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import yaml

from medmax_pipeline.files import decimal_size
from medmax_pipeline.lineage import Closure
from medmax_pipeline.manifest import FileEntry, Manifest
from medmax_pipeline.shards.layout import INDEX
from medmax_pipeline.sources import SOURCES

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
PAPER = "https://arxiv.org/abs/2412.12661"
CITATION = "Bansal et al., MedMax: Mixed-Modal Instruction Tuning for Training Biomedical Assistants, arXiv:2412.12661"
# fmt: off
_CR_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)
# fmt: on
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in _CR_TERMS},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""The context of Croissant 1.1, with PROV-O for provenance."""
_FORMATS = {".tar": "application/x-tar", ".parquet": "application/x-parquet", ".json": "application/json"}
_FREE = ("CC0", "CC-BY", "MIT", "Apache-2.0", "BSD")
"""Beginnings of licences that let copies be handed on; `-ND` among them forbids changed ones."""


class Part(NamedTuple):
    """Samples of one source under one licence."""

    source: str
    licence: str
    credentialed: bool
    samples: int


@dataclass(frozen=True, slots=True)
class Described:
    """What there is to tell of one export."""

    closure: Closure
    """Of the artifact that was exported; it comes first."""
    form: str
    """`packed` or `portable`."""
    parts: Sequence[Part]
    """Open ones are in the export, credentialed ones are not."""
    files: Sequence[FileEntry]
    """Every file of the export but card and description."""
    index: pa.Schema
    """Columns of the export's `index.parquet`."""
    published: str
    """Day on which the artifact was published, YYYY-MM-DD."""

    @property
    def artifact(self) -> Manifest:
        """The manifest of what was exported."""
        return next(iter(self.closure.nodes.values()))

    @property
    def name(self) -> str:
        """A name without slashes: `medmax-<recipe>`, and the form where it is not the packed one."""
        stem = f"medmax-{self.artifact.key.rpartition('/')[2]}"
        return stem if self.form == "packed" else f"{stem}-{self.form}"

    @property
    def open(self) -> list[Part]:
        """What is in the export."""
        return [part for part in self.parts if not part.credentialed]

    @property
    def credentialed(self) -> list[Part]:
        """What was left out."""
        return [part for part in self.parts if part.credentialed]


def licence_warnings(parts: Iterable[Part]) -> Iterator[str]:
    """A line for each licence among these parts that is not known to let the export be handed on, sorted by licence."""
    by_licence: dict[str, list[str]] = {}
    for part in parts:
        by_licence.setdefault(part.licence, []).append(part.source)
    for licence, sources in sorted(by_licence.items()):
        if not licence.startswith(_FREE):
            why = "is not known to allow redistribution"
        elif "-ND" in licence:
            why = "forbids redistribution of anything changed, and tokens and codes are"
        else:
            continue
        yield f"{licence or 'no licence named'} ({', '.join(sorted(set(sources)))}): {why}; keep it to yourself or ask."


def croissant(described: Described) -> dict[str, Any]:
    """The description as Croissant 1.1 JSON-LD."""
    first = next(iter(described.closure.nodes))
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "name": described.name,
        "description": _description(described),
        "conformsTo": CONFORMS_TO,
        "license": sorted({_licence_page(part) for part in described.open}),
        "url": PAPER,
        "citeAs": CITATION,
        "creator": {"@type": "Organization", "name": "medmax_pipeline"},
        "datePublished": described.published,
        "version": "1.0.0",
        "isLiveDataset": False,
        "prov:wasDerivedFrom": _derived(described.closure, first, set()),
        "distribution": [_file_object(entry) for entry in described.files],
        "recordSet": [_record_set(described.index)],
    }


def node_name(node: tuple[str, str]) -> str:
    """The identifier of an artifact (key, fingerprint) in the provenance."""
    return f"urn:medmax:{node[0]}@{node[1]}"


def _derived(closure: Closure, node: tuple[str, str], told: set[tuple[str, str]]) -> dict[str, Any]:
    """An artifact with all that is behind it; what was told once is only named again."""
    name = {"@id": node_name(node)}
    if node in told:
        return name
    told.add(node)
    manifest = closure.nodes[node]
    secret = _secret(closure, manifest)
    inputs = dict.fromkeys(target for source, target in closure.edges if source == node)
    behind = [_derived(closure, target, told) for target in inputs]
    behind += [] if secret else [_raw_file(entry.path, entry.sha256) for entry in manifest.external]
    told_of: dict[str, Any] = {
        "@type": "prov:Entity",
        "name": manifest.key,
        "identifier": manifest.digest,
        "license": list(manifest.licences),
        "conditionsOfAccess": "credentialed" if secret else "open",
    }
    return name | told_of | ({"prov:wasDerivedFrom": behind} if behind else {})


def _secret(closure: Closure, manifest: Manifest) -> bool:
    """Whether the artifact's own files may not even be named: it, or another one of its source, is credentialed."""
    source = manifest.key.partition("/")[0]
    return any(
        other.credentialed
        for other in closure.nodes.values()
        if other.key == manifest.key or (source in SOURCES and other.key.startswith(f"{source}/"))
    )


def _raw_file(path: str, sha256: str) -> dict[str, Any]:
    return {"@id": f"urn:sha256:{sha256}", "@type": "prov:Entity", "name": path, "identifier": sha256}


def _file_object(entry: FileEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.path,
        "name": entry.path,
        "contentUrl": entry.path,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": _FORMATS[f".{entry.path.rpartition('.')[2]}"],
        "sha256": entry.sha256,
    }


def _record_set(schema: pa.Schema) -> dict[str, Any]:
    """The flat columns of `index.parquet`."""
    fields = []
    for column in schema:
        if pa.types.is_nested(column.type):
            continue
        name = f"index/{column.name}"
        source = {"fileObject": {"@id": INDEX}, "extract": {"column": column.name}}
        fields.append(
            {"@type": "cr:Field", "@id": name, "name": name, "dataType": _data_type(column.type), "source": source}
        )
    return {"@type": "cr:RecordSet", "@id": "index", "name": "index", "field": fields}


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Integer" if pa.types.is_integer(kind) else "sc:Text"


def _licence_page(part: Part) -> str:
    """Where the terms stand, or their name where the source's record says nothing of them."""
    record = SOURCES.get(part.source)
    return record.licence.page if record is not None and record.licence.name == part.licence else part.licence


def _description(described: Described) -> str:
    samples = sum(part.samples for part in described.open)
    left = sum(part.samples for part in described.credentialed)
    what = {
        "packed": "token sequences of whole samples in webdataset tars",
        "portable": "samples with pictures, turns and image codes in webdataset tars",
    }[described.form]
    out = f" {left:,} credentialed samples are described and not contained." if left else ""
    return f"Biomedical instruction samples of text and pictures, as {what}: {samples:,} open samples.{out}"


def readme(described: Described) -> str:
    """The dataset card: a YAML header as hubs read it, then Markdown."""
    licences = sorted({part.licence for part in described.open})
    header = {
        "pretty_name": described.name,
        "license": "other",
        "license_name": "mixed" if len(licences) > 1 else (licences[0] or "unstated"),
        "license_link": "README.md",
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-to-text", "text-to-image"],
        "tags": ["medical", "biomedical", "webdataset", "croissant"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.tar"}]}],
    }
    return "\n".join(["---", yaml.safe_dump(header, sort_keys=False).rstrip(), "---", *_chapters(described)]) + "\n"


def _chapters(described: Described) -> Iterator[str]:
    artifact = described.artifact
    yield f"\n# {described.name}\n\n{_description(described)} After {CITATION}.\n"
    yield f"Made of `{artifact.key}`, fingerprint `{artifact.fingerprint}`, content digest `{artifact.digest}`.\n"
    yield "## What is inside, and under which licence\n"
    yield from parts_table(described.open)
    warnings = list(licence_warnings(described.open))
    if warnings:
        yield "\nLook before handing this on:\n"
        yield from (f"- {warning}" for warning in warnings)
    if described.credentialed:
        yield "\n## What is not inside\n"
        yield "Samples that need a credential of your own. Neither pictures, texts nor codes of them are here.\n"
        yield from parts_table(described.credentialed)
        yield ""
        for source in sorted({part.source for part in described.credentialed} & SOURCES.keys()):
            access = SOURCES[source].access
            yield f"- {SOURCES[source].title}: <{access.page}>. {access.how}"
    yield "\n## Files\n"
    yield f"{_FORM_WORDS[described.form]}\n\n| file | size | sha256 |\n| --- | --- | --- |"
    yield from (f"| `{file.path}` | {decimal_size(file.bytes)} | `{file.sha256}` |" for file in described.files)
    yield "\n`croissant.json` says the same to machines, with the provenance of every artifact behind these files."
    yield "`*.tar.idx` and `.nv-meta/` are for Megatron-Energon, which gives each sample's members as they are (crude)."


_FORM_WORDS = {
    "packed": (
        "`open-*.tar`: blocks of token ids, `tok.u16` (little-endian uint16), and where sequences begin in them, "
        "`cu.i32` (little-endian int32). `index.parquet`: one line a sequence. `vocabulary.json`: what the ids mean."
    ),
    "portable": (
        "`samples-*.tar`, one webdataset sample each: `turns.json`, `meta.json`, `image0.jpg` and on (the publisher's "
        "bytes), `codes.npy` ((pictures, codes) uint16). `index.parquet`: one line a sample. `vocabulary.json`: the "
        "tokenizers that the codes belong to."
    ),
}


def parts_table(parts: Iterable[Part]) -> Iterator[str]:
    """Sources, samples and licences as lines of a Markdown table."""
    yield "| source | samples | licence |\n| --- | --- | --- |"
    for part in parts:
        record = SOURCES.get(part.source)
        title = f"[{record.title}]({record.access.page})" if record is not None else part.source
        page = _licence_page(part)
        terms = f"[{part.licence}]({page})" if page != part.licence else part.licence
        yield f"| {title} | {part.samples:,} | {terms} |"
