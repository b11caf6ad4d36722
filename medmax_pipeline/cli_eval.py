"""`medmax eval …`: what people ask of answers that are stored already. Each prints; none runs a model.

`medmax` itself is `cli.py`; evaluating a model is `dagster job execute`, or `python -m medmax_pipeline.eval`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from medmax_pipeline import config
from medmax_pipeline.ledger import Ledger


def _ledger(settings: config.Settings) -> Ledger:
    return Ledger(settings.store, settings.build.name, settings.landing)


def evaluation(arguments: argparse.Namespace) -> int:
    """What stands on stored answers alone: their verdicts, and how far two judges agree."""
    return EVALUATION[arguments.what](arguments)


def agreement(arguments: argparse.Namespace) -> int:
    """Judge items of a published evaluation again with another endpoint of the build, and print kappa."""
    from medmax_pipeline.eval import agreement as room

    settings = config.load(arguments.config)
    found = room.compare(
        _ledger(settings),
        settings.build,
        arguments.artifact,
        arguments.judge,
        arguments.sample,
        lambda line: print(line, file=sys.stderr),
    )
    print(json.dumps(found.to_json()) if arguments.json else "\n".join(room.to_text(found)))
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Score stored outputs of any model: a JSON line each, then a summary; exit 1 where a line could not be used."""
    from medmax_pipeline.eval.score_file import score_file

    return int(score_file(arguments.file, arguments.mode, lambda told: print(json.dumps(told))) > 0)


def export_logs(arguments: argparse.Namespace) -> int:
    """Published evaluations as logs of inspect_ai, for `inspect view --log-dir DIR`; credentialed items stay out."""
    from medmax_pipeline.eval import inspect_log

    ledger = _ledger(config.load(arguments.config))
    for path in inspect_log.export_logs(ledger, arguments.artifact, arguments.out, credentialed=arguments.credentialed):
        print(path)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Two models on the items that both answered: paired differences with intervals over pictures."""
    from medmax_pipeline.eval import compare as room

    rows = room.compare(_ledger(config.load(arguments.config)), arguments.first, arguments.second)
    if arguments.json:
        print(json.dumps(room.to_json(rows, arguments.first, arguments.second)))
    else:
        print("\n".join(room.lines(rows, arguments.first, arguments.second)))
    return 0


EVALUATION: dict[str, Callable[[argparse.Namespace], int]] = {
    "agreement": agreement,
    "compare": compare,
    "export": export_logs,
    "score": score,
}
"""What `medmax eval` does."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The grammar of `eval`."""
    whats = command.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, function in EVALUATION.items():
        text = (function.__doc__ or "").splitlines()[0]
        what = whats.add_parser(name, help=text, description=text)
        if name == "score":
            what.add_argument("file", metavar="FILE", help="JSON lines of outputs; - for standard input")
            what.add_argument("--mode", choices=("compat", "strict"), required=True, help="whose rules")
        if name == "export":
            what.add_argument("--config", type=Path, help="a build's TOML; default MEDMAX_CONFIG or the sample")
            what.add_argument("artifact", help="asset key, e.g. eval/sample/vqa_rad/open; eval/sample for all of them")
            what.add_argument("out", type=Path, metavar="DIR", help="folder of logs")
            what.add_argument("--credentialed", action="store_true", help="put credentialed items into the logs too")
        if name == "compare":
            what.add_argument("--json", action="store_true", help="JSON for machines")
            what.add_argument("--config", type=Path, help="a build's TOML; default MEDMAX_CONFIG or the sample")
            what.add_argument("first", metavar="MODEL", help="a recipe of the build, or base")
            what.add_argument("second", metavar="MODEL", help="what it is compared with")
        if name == "agreement":
            what.add_argument("--json", action="store_true", help="JSON for machines")
            what.add_argument("--config", type=Path, help="a build's TOML; default MEDMAX_CONFIG or the sample")
            what.add_argument("artifact", help="asset key, e.g. eval/sample/vqa_rad/open")
            what.add_argument("--judge", required=True, metavar="NAME", help="the second judge, under [endpoints]")
            what.add_argument("--sample", type=_above_zero, metavar="N", help="items to judge at most; default all")


def _above_zero(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)
