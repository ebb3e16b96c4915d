"""From captured bytes to an ``Exchange``: parsing requests and replies of both routes, whole and streamed.

Runs on the capture thread. Whatever cannot be parsed leaves its fields empty: the status of a request counts even where
its text cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from deploy.gateway.rewrite import Fields
from deploy.gateway.sampling import sampling_of
from streams.events import Arm, Attempt, Exchange, Message


@dataclass(slots=True)
class Captured:
    """One exchange as the request path leaves it: raw bytes and what the gateway decided."""

    exchange_id: str
    client_request_id: str | None
    deployment: str
    tenant: str
    session: str
    session_derived: bool
    identity: str
    request_bytes: int
    fields: Fields
    """The top level of the request, as it was parsed to route it."""
    response: list[bytes]
    streamed: bool
    version: str
    rollout: str | None
    arm: Arm | None
    propensity: float | None
    route_epoch: int
    received_at: float
    dispatched_at: float
    completed_at: float
    first_token_s: float | None
    status: int
    attempts: tuple[Attempt, ...]

    @property
    def size(self) -> int:
        """Bytes that this exchange holds in the queue."""
        return self.request_bytes + sum(map(len, self.response))


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Turn(msgspec.Struct):
    role: str = ""
    content: str | list[_Part] | None = None
    tool_calls: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    logprobs: dict[str, Any] | None = None
    prompt_token_ids: list[int] | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    prompt_token_ids: list[int] | None = None


_turns = msgspec.json.Decoder(list[_Turn])
_any = msgspec.json.Decoder()
_reply = msgspec.json.Decoder(_Reply)
MAX_MESSAGES = 512
"""Messages kept of one request, the newest ones."""


@dataclass(slots=True)
class Said:
    """What a reply said. Only the first choice is kept: feedback names the choice it is about, and 0 is the default."""

    text: list[str] = field(default_factory=list[str])
    finish_reason: str | None = None
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def add(self, reply: _Reply) -> None:
        """Take in one whole reply or one piece of a stream."""
        if reply.usage is not None:
            self.prompt_tokens = reply.usage.prompt_tokens
            self.completion_tokens = reply.usage.completion_tokens
        for choice in reply.choices:
            if choice.index != 0:
                continue
            said = choice.message or choice.delta
            self.text.append((said.content if said else choice.text) or "")
            self.finish_reason = choice.finish_reason or self.finish_reason
            self.token_ids.extend(choice.token_ids or ())
            self.logprobs.extend(_logprobs(choice.logprobs))
            prompt_ids = choice.prompt_token_ids or reply.prompt_token_ids
            if prompt_ids and self.prompt_tokens is None:
                self.prompt_tokens = len(prompt_ids)


def _logprobs(logprobs: dict[str, Any] | None) -> list[float]:
    if not logprobs:
        return []
    values: list[Any] = logprobs.get("token_logprobs") or [
        cast(dict[str, Any], entry).get("logprob") for entry in logprobs.get("content") or ()
    ]
    return [float(v) for v in values if isinstance(v, int | float)]


def messages_of(fields: Fields) -> tuple[tuple[Message, ...], bool]:
    """The messages of a request, the newest ``MAX_MESSAGES``, and whether they are all that it said.

    A completion's prompt is one user message, which no longer is what was sent: no template was put around it.
    """
    try:
        if "messages" in fields:
            turns = _turns.decode(fields["messages"])
            kept = tuple(Message(role=t.role[:32], content=_content(t)) for t in turns[-MAX_MESSAGES:])
            return kept, len(kept) == len(turns) and all(map(_is_text, turns))
        prompt: Any = _any.decode(fields["prompt"]) if "prompt" in fields else None
    except (msgspec.MsgspecError, UnicodeError):
        return (), False
    if isinstance(prompt, list) and prompt and isinstance(cast(list[Any], prompt)[0], str):
        prompt = cast(list[Any], prompt)[0]
    return ((Message(role="user", content=prompt),) if isinstance(prompt, str) else ()), False


def _content(turn: _Turn) -> str:
    if isinstance(turn.content, list):
        return "\n".join(part.text for part in turn.content if part.text)
    return turn.content or ""


def _is_text(turn: _Turn) -> bool:
    parts = turn.content
    return not turn.tool_calls and (not isinstance(parts, list) or all(p.type == "text" for p in parts))


def said_in(response: bytes, streamed: bool) -> Said:
    """What a whole reply or an event stream said."""
    said = Said()
    pieces = _events(response) if streamed else [response]
    for piece in pieces:
        try:
            said.add(_reply.decode(piece))
        except (msgspec.MsgspecError, UnicodeError):
            continue
    return said


def _events(stream: bytes) -> list[bytes]:
    """The data of server-sent events (WHATWG HTML §9.2); the servers we know send one line of data an event."""
    lines = (line.strip() for line in stream.split(b"\n"))
    return [line[5:].strip() for line in lines if line.startswith(b"data:") and not line.endswith(b"[DONE]")]


def exchange_of(captured: Captured) -> Exchange:
    """The event, not yet redacted."""
    said = said_in(b"".join(captured.response), captured.streamed)
    messages, whole = messages_of(captured.fields)
    tokens = said.completion_tokens if said.completion_tokens is not None else len(said.token_ids) or None
    return Exchange(
        exchange_id=captured.exchange_id,
        client_request_id=captured.client_request_id,
        deployment=captured.deployment,
        tenant=captured.tenant,
        session=captured.session,
        session_derived=captured.session_derived,
        identity=captured.identity,
        messages=messages,
        completion="".join(said.text),
        finish_reason=said.finish_reason,
        sampling=sampling_of(captured.fields, whole),
        version=captured.version,
        rollout=captured.rollout,
        arm=captured.arm,
        propensity=captured.propensity,
        route_epoch=captured.route_epoch,
        received_at=captured.received_at,
        dispatched_at=captured.dispatched_at,
        completed_at=captured.completed_at,
        first_token_s=captured.first_token_s,
        status=captured.status,
        attempts=captured.attempts,
        streamed=captured.streamed,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=tokens,
        completion_token_ids=tuple(said.token_ids) or None,
        surprisal=-sum(said.logprobs) / len(said.logprobs) if said.logprobs else None,
    )
