"""`medmax launched`: launches that nobody may be watching, and ending one by hand.

`medmax` itself is `cli.py`; what launches are is `launching/`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from medmax_pipeline import config


def launched(arguments: argparse.Namespace) -> int:
    """What is launched and not yet published: where it runs, since when, its last line; --stop ends one."""
    from medmax_pipeline.launching import listing

    store = config.load(arguments.config).store
    items = list(listing.standings(store)) if arguments.stop is None else listing.stop(store, arguments.stop)
    if arguments.json:
        for item in items:
            print(json.dumps(listing.to_json(item)))
    else:
        print("\n".join(listing.to_text(items)))
    return 0


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The grammar of `launched`."""
    command.add_argument("--config", type=Path, help="a build's TOML; default MEDMAX_CONFIG or the embedded sample")
    command.add_argument("--json", action="store_true", help="JSON for machines")
    command.add_argument("--stop", metavar="ASSET_KEY", help="end it and wait until nothing of it runs")
