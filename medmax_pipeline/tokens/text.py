"""Text to ids and back with the `tokenizers` library, safe against special names inside a user's text.

`<s>` or `<reserved08706>` written by a user is encoded as ordinary characters; a text that would still become a
special id is refused. Where images and separators go is `sequence.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from medmax_pipeline.errors import TokenError
from medmax_pipeline.tokens.vocabulary import TOKENIZER, Vocabulary

SHOWN = 80
"""Characters of a refused text that the message shows."""


class TextTokenizer:
    """The text side of a vocabulary."""

    def __init__(self, tokenizer: Path, vocabulary: Vocabulary) -> None:
        """Read `tokenizer.json` (the file, or the folder that holds it) of that vocabulary.

        Raises:
            TokenError: the library cannot read the file.
        """
        path = tokenizer / TOKENIZER if tokenizer.is_dir() else tokenizer
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise TokenError(f"{path}: the tokenizers library cannot read it ({error}). Fetch it again.") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._special = np.zeros(vocabulary.size, dtype=np.bool_)
        self._special[vocabulary.special_ids] = True

    def encode(self, text: str) -> npt.NDArray[np.uint16]:
        """Ids of one text, without begin or end; raises as `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[npt.NDArray[np.uint16]]:
        """Ids of many texts, each without begin or end.

        Raises:
            TokenError: a text holds lone surrogates, or would become special ids.
        """
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise TokenError(f"{text[:SHOWN]!r}: is no valid Unicode ({error.reason}).") from error
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        encoded = [np.array(encoding.ids, dtype=np.uint16) for encoding in encodings]
        for text, ids in zip(texts, encoded, strict=True):
            if self._special[ids].any():
                found = self._tokenizer.id_to_token(int(ids[self._special[ids]][0]))
                raise TokenError(
                    f"{text[:SHOWN]!r}: would become the special token {found}. "
                    "Special names in a user's text are refused."
                )
        return encoded

    def decode(self, ids: npt.NDArray[np.integer] | Sequence[int]) -> str:
        """The text of ids.

        Raises:
            TokenError: special ids or ids of codes are among them; take images out first (`sequence.to_turns`).
        """
        array = np.asarray(ids, dtype=np.int64)
        if len(array) and not 0 <= int(array.min()) <= int(array.max()) < len(self._special):
            raise TokenError(
                f"ids run from {array.min()} to {array.max()}; the vocabulary ends at {len(self._special)}."
            )
        if self._special[array].any():
            found = int(array[self._special[array]][0])
            raise TokenError(
                f"id {found} ({self._tokenizer.id_to_token(found)}) is no text. Take images and marks out first."
            )
        text: str = self._tokenizer.decode(array.tolist(), skip_special_tokens=False)
        return text
