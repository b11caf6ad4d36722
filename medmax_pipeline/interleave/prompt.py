"""What the author is told: a prompt out of `prompts/<name>.toml`, and the messages about one caption.

What comes back is read in `reply.py`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import sha256_bytes

if TYPE_CHECKING:
    from medmax_pipeline.models.endpoint import Message

FOLDER: Final = Path(__file__).parent / "prompts"
CAPTION: Final = "{caption}"
CAPTION_LINE: Final = "\nCaption:\n"
"""Stands before the caption, and nowhere above it."""
LONGEST_CAPTION: Final = 4000
"""Ours: characters of a caption that are shown; figure legends are mostly below 2,000."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of the prompt."""

    name: str
    digest: str
    """Of the file: part of what the set is made of."""
    system: str
    user: str


@lru_cache(maxsize=8)
def read_prompt(name: str, folder: Path = FOLDER) -> Prompt:
    """The prompt of that name.

    Raises:
        ConfigError: there is none, or its file does not hold `system` and `user` with one place for the caption.
    """
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"interleave.prompt is {name!r}; prompts in interleave/prompts/ are {', '.join(known)}.")
    data = (folder / f"{name}.toml").read_bytes()
    try:
        texts = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompts/{name}.toml: not readable as TOML ({error}).") from error
    if texts.keys() != {"system", "user"} or not all(isinstance(text, str) and text.strip() for text in texts.values()):
        raise ConfigError(f"prompts/{name}.toml: holds {', '.join(sorted(texts))}; expected the texts system and user.")
    if texts["user"].count(CAPTION) != 1 or CAPTION_LINE + CAPTION not in texts["user"]:
        raise ConfigError(f"prompts/{name}.toml: user must end in a line `Caption:` and, below it, {CAPTION}.")
    return Prompt(name, sha256_bytes(data), texts["system"].strip(), texts["user"].strip())


def messages(prompt: Prompt, caption: str) -> tuple[Message, ...]:
    """What is sent about one caption."""
    from medmax_pipeline.models.endpoint import Message

    shown = " ".join(caption.split())[:LONGEST_CAPTION]
    return (Message("system", prompt.system), Message("user", prompt.user.replace(CAPTION, shown)))
