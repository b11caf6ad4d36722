"""From an artifact down to the bytes it came from, by manifests alone, and the check that the bytes still say so.

Works with the Dagster home deleted and on a copied store. Deciding what runs belongs to `ledger.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import inside, sha256_file
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.manifest import MANIFEST, External, Manifest, content_digest, digest_lines, read_manifest
from medmax_pipeline.steps import Artifact


class Closure(NamedTuple):
    """An artifact and all that is behind it: manifests by (key, fingerprint), and edges from output to input."""

    nodes: dict[tuple[str, str], Manifest]
    edges: list[tuple[tuple[str, str], tuple[str, str]]]


def closure(ledger: Ledger, artifact: Artifact) -> Closure:
    """Everything behind `artifact`, nearest first.

    Raises:
        StoreError: a manifest of the chain is missing from the store.
    """
    start = (artifact.manifest.key, artifact.manifest.fingerprint)
    nodes = {start: artifact.manifest}
    edges = []
    todo = [artifact.manifest]
    while todo:
        manifest = todo.pop(0)
        for entry in manifest.inputs:
            node = (entry.key, entry.fingerprint)
            edges.append(((manifest.key, manifest.fingerprint), node))
            if node not in nodes:
                folder = ledger.folder(*node)
                if not (folder / MANIFEST).exists():
                    raise StoreError(f"{manifest.key}: its input {entry.key} {entry.fingerprint} is not in the store.")
                nodes[node] = read_manifest(folder)
                todo.append(nodes[node])
    return Closure(nodes, edges)


def to_json(found: Closure) -> dict[str, Any]:
    """The closure in the shape of `medmax lineage --json`: artifact, nodes, edges."""
    first = next(iter(found.nodes))
    return {
        "artifact": first[0],
        "nodes": [
            {
                "key": manifest.key,
                "fingerprint": manifest.fingerprint,
                "digest": manifest.digest,
                "status": manifest.status,
                "licences": list(manifest.licences),
                "credentialed": manifest.credentialed,
                "revision": manifest.revision,
                "files": [{"path": e.path, "sha256": e.sha256, "bytes": e.bytes} for e in manifest.external]
                + [{"path": e.path, "sha256": e.sha256, "bytes": e.bytes} for e in manifest.files],
            }
            for manifest in found.nodes.values()
        ],
        "edges": [["@".join(source), "@".join(target)] for source, target in found.edges],
    }


def to_text(found: Closure) -> Iterator[str]:
    """The closure as an indented tree; what was shown once is only named again."""
    children: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for source, target in found.edges:
        if target not in children.setdefault(source, []):
            children[source].append(target)
    shown: set[tuple[str, str]] = set()

    def lines(node: tuple[str, str], depth: int) -> Iterator[str]:
        manifest = found.nodes[node]
        mark = "  " * depth
        head = f"{mark}{manifest.key}  {manifest.fingerprint[:12]}  digest {manifest.digest[:12]}"
        if node in shown:
            yield f"{head}  (above)"
            return
        shown.add(node)
        flags = "  credentialed" if manifest.credentialed else ""
        licences = f"  [{'; '.join(manifest.licences)}]" if manifest.licences else ""
        yield f"{head}{licences}{flags}"
        if manifest.lock is not None:
            yield f"{mark}  locked: {manifest.lock.reason}"
        for entry in manifest.external:
            licence = entry.licence or "no licence named"
            yield f"{mark}  . {entry.path}  {entry.bytes} B  sha256 {entry.sha256}  [{licence}]"
        for child in children.get(node, []):
            yield from lines(child, depth + 1)

    yield from lines(next(iter(found.nodes)), 0)


class Fault(NamedTuple):
    """Something on disk that is not what its manifest says."""

    path: str
    problem: str


def verify(ledger: Ledger) -> Iterator[Fault]:
    """Re-hash every published folder and every referenced raw file of current artifacts; yield what disagrees."""
    current = set()
    for pointer in ledger.store.rglob(f"current.{ledger.build}"):
        current.add((pointer.parent.relative_to(ledger.store).as_posix(), pointer.read_text().strip()))
    for path in sorted(ledger.store.rglob(MANIFEST)):
        folder = path.parent
        relative = folder.relative_to(ledger.store)
        if relative.parts[0] in ("work", "landing", "codes"):
            continue
        try:
            manifest = read_manifest(folder)
        except StoreError as error:
            yield Fault(str(relative), str(error))
            continue
        yield from verify_folder(folder, manifest)
        if (manifest.key, manifest.fingerprint) in current:
            yield from _verify_external(ledger.landing, manifest)


def verify_codes(
    ledger: Ledger, launch: Callable[[Sequence[str]], None], log: Callable[[str], None]
) -> Iterator[Fault]:
    """Look at the current image codes: every part and digest, and a sample of the pictures encoded again.

    Args:
        ledger: of the build.
        launch: runs `python -m <arguments>`.
        log: is told what was looked at, and what could not be.
    """
    artifact = ledger.current("image_codes")
    if artifact is None or artifact.locked:
        return
    from medmax_pipeline.tokens.verification import wrong_codes

    behind = {entry.key: ledger.folder(entry.key, entry.fingerprint) for entry in artifact.manifest.inputs}
    for found in wrong_codes(artifact, behind, ledger.store, ledger.landing, launch, log):
        yield Fault(found.what, found.problem)


def verify_folder(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    """Compare a published folder with its manifest: missing, changed and surplus files, and the digest over all."""
    listed = {entry.path: entry for entry in manifest.files}
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            yield Fault(f"{manifest.key}/{entry.path}", "is missing")
        elif path.stat().st_size != entry.bytes or sha256_file(path) != entry.sha256:
            yield Fault(f"{manifest.key}/{entry.path}", "its bytes are not those the manifest names")
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and relative not in listed and relative != MANIFEST:
            yield Fault(f"{manifest.key}/{relative}", "is not in the manifest")
    if manifest.digest != content_digest(manifest.files, manifest.external, manifest.lock):
        yield Fault(manifest.key, "the manifest's digest is not that of the files it lists")


def _verify_external(landing: Path, manifest: Manifest) -> Iterator[Fault]:
    for entry in manifest.external:
        if ":" in entry.path.split("/")[0]:  # a file of an installed package, checked when it is read
            continue
        if "*" in entry.path:
            yield from _verify_many(landing, manifest, entry)
            continue
        path = inside(landing, entry.path)
        if not path.is_file():
            yield Fault(entry.path, f"raw file of {manifest.key} is missing")
        elif path.stat().st_size != entry.bytes or sha256_file(path) != entry.sha256:
            yield Fault(entry.path, f"raw file of {manifest.key} has changed since it was read")


def _verify_many(landing: Path, manifest: Manifest, entry: External) -> Iterator[Fault]:
    """Compare all files that an entry's glob stands for."""
    from medmax_pipeline.ingest.landing import scan
    from medmax_pipeline.sources.record import ExpectedFile

    name, _, wanted = entry.path.partition("/")
    folder = inside(landing, name)
    files = scan(folder, (ExpectedFile(wanted, ""),)).expected if folder.is_dir() else ()
    size = sum(file.bytes for file in files)
    if not files:
        yield Fault(entry.path, f"raw files of {manifest.key} are missing")
    elif size != entry.bytes:
        yield Fault(entry.path, f"raw files of {manifest.key} have {size} bytes, {entry.bytes} when they were read")
    elif digest_lines((file.name, sha256_file(folder / file.name)) for file in files) != entry.sha256:
        yield Fault(entry.path, f"raw files of {manifest.key} have changed since they were read")
