"""`medmax convert …`: a model between transformers' form and Chameleon's original one. Looks at no build.

`medmax` itself is `cli.py`; how tensors are named and ordered is `models/original_format.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def convert(arguments: argparse.Namespace) -> int:
    """Turn a transformers folder into Chameleon's original form, or such a folder into transformers' form."""
    if arguments.to == "chameleon":
        from medmax_pipeline.models.original_format_write import write_original

        done = write_original(
            arguments.folder, arguments.out, arguments.image, average_heads=arguments.average_heads, text=arguments.text
        )
    else:
        from medmax_pipeline.models.original_format_files import read_original

        done = read_original(arguments.folder, arguments.out, arguments.text, arguments.image)
    print(f"{arguments.out}: {done.parameters:,} parameters of the transformer")
    for name in done.left_out:
        print(f"left out: {name}; name the image tokenizer with --image", file=sys.stderr)
    return 0


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The grammar of `convert`."""
    command.add_argument("folder", type=Path, metavar="FOLDER", help="a model, in either form")
    command.add_argument("--to", choices=("chameleon", "transformers"), required=True, help="the form to write")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="absent or empty")
    command.add_argument("--text", type=Path, metavar="PATH", help="tokenizer.json or its folder; default FOLDER's own")
    command.add_argument(
        "--image", type=Path, metavar="PATH", help="image tokenizer: a folder, or a vqgan.ckpt; default FOLDER's own"
    )
    command.add_argument(
        "--average-heads",
        action="store_true",
        help="to chameleon: the mean over heads where tuning moved their norms apart; another model",
    )
