"""Sentence encoders: a port for dense text vectors that take the place of the projected n-grams in ``features``.

None is needed: hashed n-grams see new words, and with them most drift. An encoder sees the same words asked with
another meaning, costs milliseconds of CPU an exchange instead of 6 microseconds, and comes as a model on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

HASHED: Final = "hashed"
_SENTENCES: Final = "sentence-transformers:"
PATTERN: Final = rf"^({HASHED}|{_SENTENCES}.+)$"
"""What the config may say."""


class EncoderUnusable(RuntimeError):
    """The encoder that the config names cannot be loaded; the message says what is missing."""


class Encoder(Protocol):
    """Texts to vectors. The same text gives the same vector in every process."""

    @property
    def name(self) -> str:
        """Names the model: what was fitted under another name is not read with this one."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """One row a text, shape (n, d), of any length."""
        ...


class SentenceEncoder:
    """A model of the library sentence-transformers, from a folder, on the CPU."""

    def __init__(self, path: str) -> None:
        """Raises EncoderUnusable."""
        self._name = f"{_SENTENCES}{path}"
        try:
            library = import_module("sentence_transformers")
        except ModuleNotFoundError as error:
            raise EncoderUnusable(
                f"monitors.encoder: {self._name} needs {error.name}: install homeostat[encoder], or say {HASHED}"
            ) from error
        try:
            self._model: Any = library.SentenceTransformer(path, device="cpu", local_files_only=True)
        except (OSError, ValueError) as error:
            raise EncoderUnusable(f"monitors.encoder: no model at {path}: {error}") from error

    @property
    def name(self) -> str:
        """As the config says it."""
        return self._name

    def encode(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Rows of length one."""
        return self._model.encode(
            list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )


@lru_cache(maxsize=1)
def encoder_of(setting: str) -> Encoder | None:
    """The encoder that the config names, loaded once; None for hashed n-grams.

    Raises:
        EncoderUnusable: when its library or its model is missing.
    """
    return None if setting == HASHED else SentenceEncoder(setting.removeprefix(_SENTENCES))
