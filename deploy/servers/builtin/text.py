# pyright: standard
"""Between text and token ids, as fast as the tokenizer's own core allows.

The chat template is compiled once by transformers and cached; ids come from the Rust tokenizer directly, because its
Python wrapper costs more than a small model's forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoTokenizer


class ChatNotPossible(ValueError):
    """The model's chat template refuses these messages, or there is none: the fault of the request or of the model."""


class Text:
    """Tokenizer and chat template of one model."""

    def __init__(self, folder: str) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._core: Any = getattr(self._tokenizer, "backend_tokenizer", None)
        self.eos_id: int | None = self._tokenizer.eos_token_id
        pad = self._tokenizer.pad_token_id
        self.pad_id: int = pad if pad is not None else (self.eos_id or 0)
        self.vocabulary: int = len(self._tokenizer)
        self._pieces: dict[int, str] = {}

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Ids of a conversation up to the place where the reply begins. Raises ChatNotPossible."""
        try:
            prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as fault:  # a template may raise anything
            raise ChatNotPossible(str(fault)) from fault
        return self.encode(prompt, special=False)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Ids of a text; ``special``: with the tokens that the tokenizer puts around a document."""
        if self._core is not None:
            return self._core.encode(text, add_special_tokens=special).ids
        return self._tokenizer.encode(text, add_special_tokens=special)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids."""
        if self._core is not None:
            return self._core.decode(list(ids), skip_special_tokens=skip_special)
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special)

    def piece(self, token: int) -> str:
        """Text of one token, special ones included; remembered (bounded by the vocabulary)."""
        text = self._pieces.get(token)
        if text is None:
            text = self._pieces[token] = self.decode([token], skip_special=False)
        return text


class Unfolding:
    """The text of a growing list of ids, given out in pieces that end on whole characters."""

    def __init__(self, text: Text, skip_special: bool) -> None:
        self._text = text
        self._skip = skip_special
        self.told = 0
        """Characters given out so far."""

    def more(self, ids: Sequence[int], last: bool) -> str:
        """What is new since the last call; a character that is still half there waits."""
        whole = self._text.decode(ids, self._skip)
        if not last and whole.endswith("\ufffd"):
            return ""
        piece, self.told = whole[self.told :], len(whole)
        return piece
