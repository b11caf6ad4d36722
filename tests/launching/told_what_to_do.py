"""A module for launches: does what its words say, one after another.

say:TEXT          print a line
report:KEY=INT    print a report
fail:REASON       print why, and end badly
orphan            leave a child in a session of its own, asleep, and print its process id
await:FILE        go on when the file is there
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType


def save(seconds: float) -> None:
    """Write down what a training would, which takes its time."""

    def asked(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(seconds)
        print("saved", flush=True)
        sys.exit(1)

    signal.signal(signal.SIGTERM, asked)


def main() -> int:
    """Do it; the exit code."""
    for word in sys.argv[1:]:
        what, _, rest = word.partition(":")
        if what == "say":
            print(rest, flush=True)
        elif what == "report":
            key, _, value = rest.partition("=")
            print(json.dumps({key: int(value)}), flush=True)
        elif what == "fail":
            print(json.dumps({"failed": rest, "message": "as it was told"}), flush=True)
            return 3
        elif what == "orphan":
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            print(f"orphan {child.pid}", flush=True)
        elif what == "save":
            save(float(rest))
        elif what == "await":
            while not Path(rest).exists():
                time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
