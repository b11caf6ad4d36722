"""`python -m benchmarks [NAME …]`: every benchmark that this machine can run, as Markdown tables.

Options reach those benchmarks whose `claim` takes them: `python -m benchmarks generation --size 7b --stepping graph`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import platform
import sys
from pathlib import Path

from benchmarks.measure import Claim, report

NOT_CLAIMS = ("__init__", "__main__", "measure")


def main(given: list[str]) -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--size", help="of the network: small or 7b")
    parser.add_argument("--pictures", help="a folder of JPEG files, for a machine without the sample's packages")
    parser.add_argument("--stepping", choices=("eager", "graph"), help="how single ids are computed")
    options = vars(parser.parse_args(given))
    names = options.pop("names")
    chosen = {option: value for option, value in options.items() if value is not None}
    here = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_CLAIMS)
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}\n")
    claims = [importlib.import_module(f"benchmarks.{name}").claim for name in names or here]
    takes = [inspect.signature(claim).parameters.keys() for claim in claims]
    if unknown := chosen.keys() - set().union(*takes):
        parser.error(f"none of these benchmarks takes --{', --'.join(sorted(unknown))}")
    for claim, known in zip(claims, takes, strict=True):
        made = claim(**{option: chosen[option] for option in chosen.keys() & known})
        for one in [made] if isinstance(made, Claim) else made:
            print(report(one), flush=True)
            print()


if __name__ == "__main__":
    main(sys.argv[1:])
