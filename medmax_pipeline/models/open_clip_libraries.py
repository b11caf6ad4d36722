"""Whether open_clip can be used on this machine; asked before a build plans on it, so nothing is imported here.

Reading BiomedCLIP with it is `biomedclip.py`.
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from typing import Final

from medmax_pipeline.manifest import Lock

LIBRARIES: Final = ("open_clip", "timm", "torchvision")
"""The extra `biomedclip`."""
IMPORT_S: Final = 120


@functools.lru_cache(maxsize=1)
def missing_libraries() -> Lock | None:
    """Why open_clip cannot be used here, if so; asked of a process of its own, since a failed import leaves traces."""
    cure = "pip install 'medmax_pipeline[biomedclip]', with a torchvision made for the installed torch."
    absent = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        return Lock(f"BiomedCLIP is read through open_clip; not installed: {', '.join(absent)}.", cure)
    tried = subprocess.run(
        [sys.executable, "-c", "import open_clip"], capture_output=True, text=True, check=False, timeout=IMPORT_S
    )
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["no message"])[-1][:200]
        return Lock(f"BiomedCLIP is read through open_clip, which does not import here ({why}).", cure)
    return None
