"""What a model is asked about a caption, out of `prompts/<name>.toml`, and how strictly its reply is read.

Which captions are asked about, and what becomes of the verdicts, is `captions.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import sha256_bytes

if TYPE_CHECKING:
    from medmax_pipeline.models.endpoint import Message

FOLDER: Final = Path(__file__).parent / "prompts"
CAPTION: Final = "{caption}"
REASONS: Final = "{reasons}"
LONGEST_CAPTION: Final = 4000
"""Ours: characters of a caption that are shown; figure legends are mostly below 2,000."""
KEEP: Final = "keep"


class Verdict(NamedTuple):
    """What a model says of a caption."""

    reason: str
    """`keep`, or one of the prompt's reasons to drop it."""


class Unreadable(NamedTuple):
    """Why a reply is no verdict."""

    detail: str


@dataclass(frozen=True, slots=True)
class CaptionPrompt:
    """One version of the prompt."""

    name: str
    digest: str
    """Of the file: part of what verdicts are made of."""
    system: str
    user: str
    again: str
    """What is said to a reply that cannot be read."""
    reasons: Mapping[str, str]
    """Names of the reasons to drop a caption, and what they mean."""


@lru_cache(maxsize=8)
def read_caption_prompt(name: str, folder: Path = FOLDER) -> CaptionPrompt:
    """The prompt of that name, from `captions_<name>.toml`.

    Raises:
        ConfigError: there is none, or its file does not hold what `CaptionPrompt` has.
    """
    known = sorted(path.stem.removeprefix("captions_") for path in folder.glob("captions_*.toml"))
    if name not in known:
        raise ConfigError(f"curation.captions_prompt is {name!r}; prompts in curation/prompts/ are {', '.join(known)}.")
    path = folder / f"captions_{name}.toml"
    data = path.read_bytes()
    try:
        told: dict[str, Any] = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not readable as TOML ({error}).") from error
    reasons = told.pop("reasons", None)
    if told.keys() != {"system", "user", "again"} or not all(isinstance(text, str) for text in told.values()):
        raise ConfigError(f"{path.name}: holds {sorted(told)}; expected the texts system, user, again and [reasons].")
    named = isinstance(reasons, dict) and all(isinstance(text, str) for text in reasons.values())
    if not named or not reasons or KEEP in reasons:
        raise ConfigError(f"{path.name}: [reasons] must give each reason to drop a caption a sentence.")
    if told["user"].count(CAPTION) != 1 or told["system"].count(REASONS) != 1:
        raise ConfigError(f"{path.name}: user needs {CAPTION} once, system {REASONS} once.")
    lines = "\n".join(f"- {reason}: {meaning}" for reason, meaning in reasons.items())
    return CaptionPrompt(
        name,
        sha256_bytes(data),
        told["system"].strip().replace(REASONS, lines),
        told["user"].strip(),
        told["again"].strip(),
        reasons,
    )


def messages(prompt: CaptionPrompt, caption: str) -> tuple[Message, ...]:
    """What is sent about one caption."""
    from medmax_pipeline.models.endpoint import Message

    shown = " ".join(caption.split())[:LONGEST_CAPTION]
    return (Message("system", prompt.system), Message("user", prompt.user.replace(CAPTION, shown)))


def read_verdict(text: str, prompt: CaptionPrompt) -> Verdict | Unreadable:
    """The one verdict that a reply is; anything beside it, missing or unknown makes it none.

    Args:
        text: as it came.
        prompt: says which reasons there are.
    """
    from medmax_pipeline.models.reply_json import NotJson, read_object

    try:
        value = read_object(text)
    except NotJson as error:
        return Unreadable(f"no JSON object: {error}"[:200])
    if value == {"verdict": KEEP}:
        return Verdict(KEEP)
    reason = value.get("reason")
    if value.keys() == {"verdict", "reason"} and value["verdict"] == "drop" and isinstance(reason, str):
        if reason in prompt.reasons:
            return Verdict(reason)
        return Unreadable(f"the reason {reason[:40]!r} is none of {', '.join(prompt.reasons)}")
    return Unreadable(f"fields {sorted(value)[:8]}, verdict {str(value.get('verdict'))[:40]!r}"[:200])
