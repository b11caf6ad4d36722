"""`medmax …`: what people ask of a build from the command line, without the orchestrator.

Reading and explaining; making things is `dagster job execute` or the web UI, but for `retry`, which tries again what a
build had to leave out, and `withdraw`, which marks what the next one leaves out; `launched` can end what runs.
`encode`, `decode` and `convert` need no build: pictures to codes and back, a model from one form to another. Faults of
ours end in one line and exit code 2, findings (a broken store, a broken picture) in exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from medmax_pipeline import __version__, cli_convert, cli_eval, cli_launched, config
from medmax_pipeline.errors import ConfigError, MedmaxError
from medmax_pipeline.ledger import Ledger
from medmax_pipeline.models.weights import NumericMode

REBUILD = "dagster job execute -m medmax_pipeline.definitions -j full_rebuild"
"""Makes whatever a build is missing."""


def _ledger(settings: config.Settings) -> Ledger:
    return Ledger(settings.store, settings.build.name, settings.landing)


def plan(arguments: argparse.Namespace) -> int:
    """What would run or be fetched, why and how much, and what is locked."""
    from medmax_pipeline import graph
    from medmax_pipeline.planning import volume

    settings = config.load(arguments.config)
    planned = _ledger(settings).plan(graph.steps(settings))
    if arguments.json:
        for item in planned:
            sizes = volume(item.files)
            files = [file._asdict() for file in item.files]
            print(json.dumps({**item._asdict(), "files": files, "bytes": sizes.bytes, "unsized": sizes.unsized}))
        return 0
    width = max(len(item.key) for item in planned)
    for item in planned:
        origin, follows, _ = item.reason.partition(" is locked: ")
        print(f"{item.key:<{width}}  {item.action:<7}{origin + ' is locked' if follows else item.reason}")
        if item.cure and not follows:
            print(f"{'':<{width}}         to unlock: {item.cure}")
    todo = sum(item.waits for item in planned)
    locked = sum(item.action == "locked" for item in planned)
    print(f"\n{todo} of {len(planned)} would run or may have to, {locked} locked, the rest is reused.")
    sizes = volume(file for item in planned for file in item.files)
    print(f"Would fetch {sizes.words}." if sizes.files else "Nothing would be fetched.")
    return 0


def lineage(arguments: argparse.Namespace) -> int:
    """Everything behind an artifact, a sample or an image, down to raw files, and what has seen it."""
    from medmax_pipeline import lineage as trail
    from medmax_pipeline import tracing

    ledger = _ledger(config.load(arguments.config))
    if arguments.artifact is None:
        one = (
            tracing.trace_image(ledger, arguments.image)
            if arguments.image
            else tracing.trace_sample(ledger, arguments.sample)
        )
        print(json.dumps(one, indent=1) if arguments.json else "\n".join(tracing.to_text(one)))
        return 0
    found = trail.closure(ledger, ledger.need(arguments.artifact))
    if arguments.json:
        print(json.dumps(trail.to_json(found), indent=1))
    else:
        print("\n".join(trail.to_text(found)))
    return 0


def withdraw(arguments: argparse.Namespace) -> int:
    """Mark images or samples that the next build leaves out, and say what has seen them."""
    from medmax_pipeline import tracing, withdrawal

    ledger = _ledger(config.load(arguments.config))
    published = tracing.versions(ledger)
    names = withdrawal.read_list(arguments.list) if arguments.list else []
    for what, prefix in (("image", arguments.image), ("sample", arguments.sample)):
        if prefix:
            whole = len(prefix) == withdrawal.DIGITS[what]  # other stores may know what this one does not
            names.append(prefix if whole else tracing.whole_id(published, what, prefix))
    images, samples = ([name for name in names if withdrawal.kind_of(name) == what] for what in ("image", "sample"))
    held = tracing.sample_ids(published, images, samples)
    seen = tracing.seen_by(published, held)
    made = withdrawal.mark(ledger.store, names, arguments.reason, undo=arguments.undo)
    twins = tracing.same_pixels(published, images)
    if arguments.json:
        told = {"marked": [item._asdict() for item in made], "same_pixels": twins, "samples": held, **seen}
        print(json.dumps(told, indent=1))
        return 0
    print(f"{len(made)} of {len(names)} {'taken back' if arguments.undo else 'withdrawn'}, the others were so already.")
    print("\n".join([f"{len(held)} samples of this store are concerned.", *tracing.count_lines(seen)]))
    for twin in twins:
        print(f"  image {twin} has the same pixels in another file; it is not meant by this")
    print("What is published stays, codes too. The next build follows: `medmax plan` says what it makes again.")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Hash the store again, encode some pictures again, and compare; exit 1 where something differs."""
    from medmax_pipeline import lineage as trail
    from medmax_pipeline import processes

    def launch(module: Sequence[str]) -> None:
        processes.run_module(module, lambda line: None)

    ledger = _ledger(config.load(arguments.config))
    faults = [*trail.verify(ledger), *trail.verify_codes(ledger, launch, print)]
    for fault in faults:
        print(f"{fault.path}: {fault.problem}")
    print(f"{len(faults)} faults." if faults else "Every file has the bytes its manifest names.")
    return 1 if faults else 0


def stale(arguments: argparse.Namespace) -> int:
    """Scores that are out of date, and why."""
    from medmax_pipeline import graph

    settings = config.load(arguments.config)
    found = graph.stale_evaluations(_ledger(settings), graph.steps(settings))
    for item in found:
        print(json.dumps(item._asdict()) if arguments.json else f"{item.key}: {item.reason}")
    if not found and not arguments.json:
        print("All scores are fresh.")
    return 0


def sources(arguments: argparse.Namespace) -> int:
    """Every source and all weights: access, licence, whether their files are here and how to get them."""
    from medmax_pipeline import listing

    if arguments.docs:
        print("\n".join(listing.docs()))
        return 0
    settings = config.load(arguments.config)
    found = list(listing.standings(settings, _ledger(settings)))
    if arguments.pins:
        print("\n".join(listing.pins(found)))
    elif arguments.json:
        for item in found:
            print(json.dumps(listing.to_json(item)))
    else:
        print("\n".join(listing.to_text(found)))
    return 0


def retry(arguments: argparse.Namespace) -> int:
    """Try quarantined units again, after their cause was mended, and nothing else."""
    from medmax_pipeline import graph, processes
    from medmax_pipeline.ingest import retry as room

    def told(line: str) -> None:
        print(line, file=sys.stderr)

    settings = config.load(arguments.config)
    found = room.retry(
        _ledger(settings),
        graph.steps(settings),
        arguments.sources,
        told,
        partial(processes.run_module, told=told),
    )
    if arguments.json:
        for item in found:
            print(json.dumps(room.to_json(item)))
    else:
        build = f"MEDMAX_CONFIG={arguments.config} " if arguments.config else ""
        print("\n".join(room.to_text(found, build + REBUILD)))
    return 0


def results(arguments: argparse.Namespace) -> int:
    """Where report, checkpoint and scores lie, the scores themselves, and what to try next."""
    from medmax_pipeline.report.summary import result_lines

    settings = config.load(arguments.config)
    print("\n".join(result_lines(_ledger(settings), tuple(settings.recipes))))
    return 0


def export(arguments: argparse.Namespace) -> int:
    """The open part of published shards, or a tuned model, as a folder for others, with cards."""
    ledger, key = _ledger(config.load(arguments.config)), arguments.artifact
    if key.startswith("checkpoint/"):
        from medmax_pipeline.training import publish

        model = publish.export(ledger, key, arguments.out, credentialed=arguments.credentialed)
        print("\n".join(publish.to_text(model, arguments.out)))
        return 0
    if arguments.credentialed:
        raise ConfigError(f"--credentialed is for checkpoints; credentialed samples of {key} are never handed on.")
    from medmax_pipeline.shards import export as room

    done = room.export(ledger, key, arguments.out, arguments.form)
    print("\n".join(room.to_text(done, arguments.out)))
    return 0


def encode(arguments: argparse.Namespace) -> int:
    """Pictures as JSON lines of their codes; exit 1 where one could not be encoded."""
    from medmax_pipeline.tokens import code_lines

    vqgan = code_lines.load(arguments.tokenizer, arguments.mode)
    return _told(code_lines.encode_files(vqgan, arguments.images))


def decode(arguments: argparse.Namespace) -> int:
    """JSON lines of codes as PNG files; exit 1 where one could not be decoded."""
    from medmax_pipeline.tokens import code_lines

    vqgan = code_lines.load(arguments.tokenizer, "exact")
    return _told(code_lines.decode_file(vqgan, arguments.lines, arguments.out))


def _told(found: Iterable[Mapping[str, object]]) -> int:
    """Print a line each, errors apart; 1 where there was one."""
    bad = 0
    for item in found:
        bad |= "error" in item
        print(json.dumps(item), file=sys.stderr if "error" in item else sys.stdout, flush=True)
    return bad


def leakage(arguments: argparse.Namespace) -> int:
    """Pictures of one folder that another shows, changed or not; exit 1 where there are any."""
    from medmax_pipeline.curation.standalone import compare

    answer = compare(arguments.train, arguments.eval)
    for item in answer.refused:
        print(f"{item.file}: {item.reason}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(answer.pairs, indent=1))
    else:
        for pair in answer.pairs:
            print(f"{pair['train']} shows {pair['eval']} ({pair['how']} {pair['change']}, {pair['measure']:.2f})")
        print(f"{len(answer.pairs)} pairs, {len(answer.refused)} files not looked at.")
    return 1 if answer.pairs else 0


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], bool]] = {
    "plan": (plan, True),
    "lineage": (lineage, True),
    "withdraw": (withdraw, True),
    "verify": (verify, False),
    "stale": (stale, True),
    "sources": (sources, True),
    "retry": (retry, True),
    "results": (results, False),
    "export": (export, False),
    "leakage": (leakage, True),
    "eval": (cli_eval.evaluation, False),
    "encode": (encode, False),
    "decode": (decode, False),
    "convert": (cli_convert.convert, False),
    "launched": (cli_launched.launched, False),
}
"""Each command, and whether it speaks JSON too where asked."""


OWN_GRAMMAR = {
    "convert": cli_convert.add_arguments,
    "eval": cli_eval.add_arguments,
    "launched": cli_launched.add_arguments,
}
"""Commands whose grammar is their module's."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; the help of a command is the first line of its docstring."""
    made = argparse.ArgumentParser(prog="medmax", description="MedMax as a pipeline: look into a build.")
    made.add_argument("--version", action="version", version=__version__)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, speaks_json) in COMMANDS.items():
        text = (function.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=text, description=text)
        if name in ("encode", "decode"):
            _add_codes(command, name)
            continue
        if name == "leakage":
            command.add_argument("train", type=Path, help="folder of training pictures: files, archives or shards")
            command.add_argument("eval", type=Path, help="folder of evaluation pictures")
            command.add_argument("--json", action="store_true", help="a list of pairs")
            continue
        if name in OWN_GRAMMAR:
            OWN_GRAMMAR[name](command)
            continue
        command.add_argument("--config", type=Path, help="a build's TOML; default MEDMAX_CONFIG or the embedded sample")
        if speaks_json:
            command.add_argument("--json", action="store_true", help="JSON for machines")
        if name == "sources":
            command.add_argument("--pins", action="store_true", help="the [pins] table of what is pinned here")
            command.add_argument("--docs", action="store_true", help="docs/sources.md, from the records alone")
        if name == "lineage":
            chosen = command.add_mutually_exclusive_group(required=True)
            chosen.add_argument("artifact", nargs="?", help="asset key, e.g. checkpoint/sample")
            _add_ids(chosen)
        if name == "withdraw":
            chosen = command.add_mutually_exclusive_group(required=True)
            _add_ids(chosen)
            chosen.add_argument("--list", type=Path, metavar="FILE", help="whole ids of images and samples, one a line")
            command.add_argument("--reason", required=True, help="why; kept with the date")
            command.add_argument("--undo", action="store_true", help="take it back: the next build has them again")
        if name == "export":
            command.add_argument("artifact", help="asset key, e.g. shards/sample or checkpoint/sample")
            command.add_argument("--out", type=Path, required=True, metavar="DIR", help="absent or empty")
            command.add_argument("--form", choices=("packed", "portable"), default="packed", help="of shards")
            command.add_argument(
                "--credentialed", action="store_true", help="a checkpoint: you may hand on what credentialed data tuned"
            )
        if name == "retry":
            command.add_argument("sources", nargs="*", metavar="SOURCE", help="keys of sources; default all of them")
    return made


def _add_ids(group: argparse._MutuallyExclusiveGroup) -> None:
    for what in ("image", "sample"):
        group.add_argument(f"--{what}", metavar="ID", help=f"id of the {what}, or its first 8 digits or more")


def _add_codes(command: argparse.ArgumentParser, name: str) -> None:
    """The grammar of `encode` and `decode`, which look at no build."""
    command.add_argument(
        "--tokenizer", type=Path, required=True, metavar="PATH", help="a folder, or a vqgan.ckpt beside its vqgan.yaml"
    )
    if name == "encode":
        command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="picture files")
        command.add_argument(
            "--mode", choices=get_args(NumericMode), help="how to compute; default as PATH says, or exact"
        )
    else:
        command.add_argument("lines", metavar="FILE", help="JSON lines as `encode` prints them; - for standard input")
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the PNG files go")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return COMMANDS[chosen.command][0](chosen)
    except MedmaxError as error:
        print(f"medmax: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `medmax … | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
