"""The requests that the server takes: the OpenAI API's fields and vLLM's, as far as this server does something about
them.

Fields that nobody here knows are ignored, as vLLM ignores them; fields that would change the answer and are not
supported are refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec


class BadRequest(ValueError):
    """The request cannot be answered: the client's fault. ``param`` names the field."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


class StreamOptions(msgspec.Struct):
    """``stream_options``."""

    include_usage: bool = False


class Common(msgspec.Struct, kw_only=True):
    """What both routes take."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    n: int | None = 1
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    prompt_logprobs: int | None = None
    use_beam_search: bool = False


class ChatRequest(Common, kw_only=True):
    """``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0


class CompletionRequest(Common, kw_only=True):
    """``POST /v1/completions``."""

    prompt: str | list[int | str | list[int]]
    """Text, token ids, or a list of either."""
    logprobs: int | None = None
    echo: bool | None = False


class LoadRequest(msgspec.Struct):
    """``POST /v1/load_lora_adapter``."""

    lora_name: str = ""
    lora_path: str = ""
    load_inplace: bool = False


class UnloadRequest(msgspec.Struct):
    """``POST /v1/unload_lora_adapter``."""

    lora_name: str = ""
    lora_int_id: int | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the model's ``generation_config.json`` says where a request says nothing; vLLM reads the same fields."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request after checking: what to generate and how to answer."""

    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    choices: int
    max_tokens: int | None
    stops: tuple[str, ...]
    stop_ids: frozenset[int]
    min_tokens: int
    skip_special: bool
    top_logprobs: int | None
    stream: bool
    include_usage: bool
    token_ids: bool


MAX_LOGPROBS = 20
MAX_CHOICES = 16


def wanted(request: ChatRequest | CompletionRequest, defaults: Defaults) -> Wanted:
    """The request with defaults filled in. Raises BadRequest."""
    _refuse_unsupported(request)
    temperature = defaults.temperature if request.temperature is None else request.temperature
    top_p = defaults.top_p if request.top_p is None else request.top_p
    top_k = defaults.top_k if request.top_k is None else request.top_k
    choices = 1 if request.n is None else request.n
    limit = request.max_tokens
    if isinstance(request, ChatRequest):
        limit = request.max_completion_tokens if request.max_completion_tokens is not None else limit
        limit = defaults.max_new_tokens if limit is None else limit
        top = (request.top_logprobs or 0) if request.logprobs else None
    else:
        limit = 16 if limit is None else limit
        top = request.logprobs
    _check_range(temperature >= 0, "temperature", "must be non-negative", temperature)
    _check_range(0 < top_p <= 1, "top_p", "must be in (0, 1]", top_p)
    _check_range(limit is None or limit >= 1, "max_tokens", "must be at least 1", limit)
    _check_range(1 <= choices <= MAX_CHOICES, "n", f"must be between 1 and {MAX_CHOICES}", choices)
    _check_range(top is None or 0 <= top <= MAX_LOGPROBS, "logprobs", f"at most {MAX_LOGPROBS}", top)
    stop = request.stop
    stream = bool(request.stream)
    if request.stream_options is not None and not stream:
        raise BadRequest("Stream options can only be defined when `stream=True`.", "stream_options")
    return Wanted(
        temperature=temperature,
        top_p=top_p,
        top_k=max(top_k, 0),
        seed=request.seed,
        choices=choices,
        max_tokens=limit,
        stops=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        stop_ids=_stop_ids(request, defaults),
        min_tokens=request.min_tokens,
        skip_special=request.skip_special_tokens,
        top_logprobs=top,
        stream=stream,
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        token_ids=bool(request.return_token_ids),
    )


def _stop_ids(request: Common, defaults: Defaults) -> frozenset[int]:
    own = frozenset(request.stop_token_ids or ())
    return own if request.ignore_eos else own | defaults.stop_ids


def _check_range(good: bool, field: str, rule: str, got: object) -> None:
    if not good:
        raise BadRequest(f"{field} {rule}, got {got}.", field)


def _refuse_unsupported(request: ChatRequest | CompletionRequest) -> None:
    refused = [name for name in ("prompt_logprobs", "use_beam_search") if getattr(request, name)]
    if isinstance(request, CompletionRequest) and request.echo:
        refused.append("echo")
    if refused:
        raise BadRequest(f"{refused[0]} is not supported by this server; vLLM does it.", refused[0])


def prompts_of(request: CompletionRequest) -> list[str | list[int]]:
    """The prompts of a completion request, each text or ids. Raises BadRequest."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise BadRequest("prompt: at least one token or text expected", "prompt")
    ids = [t for t in prompt if isinstance(t, int)]
    if ids and len(ids) < len(prompt):
        raise BadRequest("prompt: token ids and texts cannot be mixed in one list", "prompt")
    return [ids] if ids else [p for p in prompt if not isinstance(p, int)]


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose content is text, as chat templates of text models expect it. Raises BadRequest for other parts."""
    plain: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            message = {**message, "content": "".join(map(_part_text, cast(list[Any], content)))}
        elif content is None:
            message = {**message, "content": ""}
        plain.append(message)
    return plain


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = cast(dict[str, Any], part).get("text") if isinstance(part, dict) else None
    if isinstance(text, str):
        return text
    raise BadRequest("messages: this model reads text parts only", "messages")
