"""Template sets: the words in which a sample is asked for where its source has none, read from `templates/<set>.toml`.

Reading and choosing only; which samples get a phrase is `instructions.py`.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

from medmax_pipeline.errors import ConfigError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.records import IMAGE, Kind

FOLDER: Final = Path(__file__).parent / "templates"
TEXT: Final = "{text}"
"""Stands in a phrase for what the sample says in words."""
OF_PICTURES: Final[tuple[Kind, ...]] = ("captioning", "report_generation")
"""Forms that ask about a picture and quote nothing."""
OF_TEXTS: Final[tuple[Kind, ...]] = ("generation", "radiograph_generation", "vqa_closed", "vqa_open", "vqa_mcq")
"""Forms that quote a caption, a report or a question."""
LONGEST: Final = 200
"""Ours: characters of a phrase at most; packs are better spent on pictures and answers."""
SALT: Final = "instruction-phrase"


@dataclass(frozen=True, slots=True)
class Form:
    """The phrases of one kind."""

    asked: str
    """As the published evaluation asks."""
    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Templates:
    """One set of phrases."""

    name: str
    digest: str
    """Of the file: part of what curated samples are made of."""
    forms: Mapping[Kind, Form]

    def phrase(self, kind: Kind, sample_id: str, asked_share: float) -> str:
        """The phrase of a sample, by its id alone.

        Args:
            kind: a kind that the set has a form of.
            sample_id: of the sample; the same id always gets the same phrase.
            asked_share: share of the samples, 0 to 1, that are asked as the evaluation asks.
        """
        form = self.forms[kind]
        number = int(hashlib.sha256(f"{SALT}:{sample_id}".encode()).hexdigest()[:16], 16)
        if not form.phrases or number % 1_000_000 < asked_share * 1_000_000:
            return form.asked
        return form.phrases[number // 1_000_000 % len(form.phrases)]


@lru_cache(maxsize=8)
def read_templates(name: str, folder: Path = FOLDER) -> Templates:
    """The set of that name.

    Raises:
        ConfigError: there is none, or its file has other kinds, or phrases that do not fit their kind.
    """
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        raise ConfigError(f"curation.templates is {name!r}; sets in curation/templates/ are {', '.join(known)}.")
    data = (folder / f"{name}.toml").read_bytes()
    try:
        forms = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"templates/{name}.toml: not readable as TOML ({error}).") from error
    expected = {*OF_PICTURES, *OF_TEXTS}
    if forms.keys() != expected:
        odd = sorted(forms.keys() ^ expected)
        raise ConfigError(
            f"templates/{name}.toml: {', '.join(odd)} missing or unknown; expected each of {sorted(expected)}."
        )
    made = {cast(Kind, kind): _form(f"templates/{name}.toml, {kind}", kind, value) for kind, value in forms.items()}
    return Templates(name, sha256_bytes(data), made)


def _form(where: str, kind: str, value: Any) -> Form:
    if not isinstance(value, dict) or value.keys() != {"asked", "phrases"} or not isinstance(value["phrases"], list):
        raise ConfigError(f"{where}: expected `asked`, one phrase, and `phrases`, a list of others.")
    phrases = [value["asked"], *value["phrases"]]
    quotes = int(kind in OF_TEXTS)
    for phrase in phrases:
        if not isinstance(phrase, str) or not 0 < len(phrase) <= LONGEST or IMAGE in phrase:
            raise ConfigError(f"{where}: {phrase!r} is no phrase of 1 to {LONGEST} characters without {IMAGE}.")
        if phrase.count(TEXT) != quotes:
            raise ConfigError(f"{where}: {phrase!r} holds {TEXT} {phrase.count(TEXT)} times, expected {quotes}.")
    return Form(phrases[0], tuple(phrases[1:]))
