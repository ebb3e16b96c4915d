"""How a request asked for its reply to be drawn: the numbers, and flags for what is text or structure and stays out.

Runs on the capture thread. The flags are fail-closed: a field that we do not know is taken to shape the reply.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from pydantic import ValidationError

from deploy.gateway.rewrite import Fields
from streams.events import Sampling

_STOPS: Final = frozenset(("stop", "stop_token_ids", "ignore_eos"))
_NUMBERS: Final = frozenset(Sampling.model_fields) - {"max_tokens", "stops", "shaped"}
_LIMITS: Final = frozenset(("max_completion_tokens", "max_tokens"))
"""The former goes first, as in the servers."""
_INDIFFERENT: Final = frozenset(
    (
        *("model", "messages", "user", "metadata", "request_id", "session_id", "safety_identifier", "cache_salt"),
        *("stream", "stream_options", "n", "store", "service_tier", "priority", "prompt_cache_key"),
        *("logprobs", "top_logprobs", "prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids"),
        *("tool_choice", "parallel_tool_calls"),
    )
)
"""What changes neither prompt nor reply, and what says nothing where there are no tools."""
_EMPTY: Final = frozenset((b"null", b"false", b"0", b"[]", b"{}", b'""'))
_number: Final = msgspec.json.Decoder(int | float | None)


def sampling_of(fields: Fields, whole: bool) -> Sampling | None:
    """The sampling that a request's top level asks for; None where a server would not have taken it either.

    ``whole``: whether the messages were kept as they were sent; if not, the request counts as shaped.
    """
    said: dict[str, Any] = {} if whole else {"shaped": True}
    try:
        for name, raw in fields.items():
            if name in _INDIFFERENT:
                continue
            if name in _NUMBERS or name in _LIMITS:
                number = _number.decode(raw)
                if number is not None:
                    said[name] = number
            elif bytes(raw) not in _EMPTY:
                said["stops" if name in _STOPS else "shaped"] = True
        if "max_completion_tokens" in said:
            said["max_tokens"] = said.pop("max_completion_tokens")
        return Sampling(**said)
    except (msgspec.MsgspecError, ValidationError):
        return None
