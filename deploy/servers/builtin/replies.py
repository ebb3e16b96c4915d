# pyright: standard
"""The replies of both routes, whole and in pieces, in the shape that vLLM gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.servers.builtin.sampling import TokenLogprob
from deploy.servers.builtin.text import Text

LEAST_LOGPROB = -9999.0
"""JSON has no minus infinity; vLLM writes this instead."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What every reply to one request shares."""

    id: str
    created: int
    model: str
    chat: bool

    def reply(self, choices: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
        """A whole reply."""
        kind = "chat.completion" if self.chat else "text_completion"
        return self._object(kind, choices) | {"usage": usage}

    def piece(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """One event of a stream."""
        return self._object("chat.completion.chunk" if self.chat else "text_completion", choices)

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The token counts of a reply."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def chat_logprobs(text: Text, found: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Log-probabilities as the chat route tells them."""
    content: list[dict[str, Any]] = []
    for token in found:
        top = [_entry(text, t, lp) for t, lp in token.top]
        content.append(_entry(text, token.token, token.logprob) | {"top_logprobs": top})
    return {"content": content}


def _entry(text: Text, token: int, logprob: float) -> dict[str, Any]:
    piece = text.piece(token)
    return {"token": piece, "logprob": max(logprob, LEAST_LOGPROB), "bytes": list(piece.encode())}


def completion_logprobs(text: Text, found: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """Log-probabilities as the completions route tells them; ``offset``: characters before the first token."""
    offsets: list[int] = []
    for token in found:
        offsets.append(offset)
        offset += len(text.piece(token.token))
    return {
        "text_offset": offsets,
        "tokens": [text.piece(t.token) for t in found],
        "token_logprobs": [max(t.logprob, LEAST_LOGPROB) for t in found],
        "top_logprobs": [
            {text.piece(i): max(lp, LEAST_LOGPROB) for i, lp in ((t.token, t.logprob), *t.top)} for t in found
        ],
    }
