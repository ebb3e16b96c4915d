# pyright: standard
"""One generation request: rows into the engine, and its reply, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch

from deploy.gateway.asgi import Receive, Send, answer, error
from deploy.servers.builtin.batch import Row
from deploy.servers.builtin.engine import Engine
from deploy.servers.builtin.lora import Adapter
from deploy.servers.builtin.protocol import Wanted
from deploy.servers.builtin.replies import Frame, chat_logprobs, completion_logprobs, usage
from deploy.servers.builtin.sampling import Draw, Sampling
from deploy.servers.builtin.text import Text, Unfolding

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Choice:
    """One row and how far its text was told."""

    index: int
    unfolding: Unfolding
    row: Row | None = None
    told_tokens: int = 0
    cut: str | None = None
    """The whole text, when a stop text ended it."""
    finish: str | None = None


@dataclass(slots=True)
class Generation:
    """All rows of one request. Lives on the event loop."""

    wanted: Wanted
    frame: Frame
    text: Text
    prompts: Sequence[list[int]]
    choices: list[Choice] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def rows(self, adapter: Adapter | None, room: Sequence[int], generator: torch.Generator) -> list[Row]:
        """The rows to submit; ``room``: tokens that still fit the model after each prompt."""
        wanted = self.wanted
        watch = wanted.stream or bool(wanted.stops)
        for at, prompt in enumerate(self.prompts):
            for n in range(wanted.choices):
                choice = Choice(at * wanted.choices + n, Unfolding(self.text, wanted.skip_special))
                choice.row = Row(
                    prompt=prompt,
                    adapter=adapter,
                    draw=_draw(wanted, n, generator),
                    max_tokens=min(wanted.max_tokens or room[at], room[at]),
                    stop_ids=wanted.stop_ids,
                    min_tokens=wanted.min_tokens,
                    on_step=(lambda row, c=choice: self._moved(c)) if watch else None,
                    on_end=lambda row, c=choice: self._moved(c),
                )
                self.choices.append(choice)
        return [c.row for c in self.choices if c.row is not None]

    def _moved(self, choice: Choice) -> None:
        row = choice.row
        if row is None or choice.finish is not None:
            return
        if self.wanted.stops:
            self._cut(choice, row)
        if choice.finish is None and row.finish is not None:
            choice.finish = row.finish
        self.news.set()

    def _cut(self, choice: Choice, row: Row) -> None:
        """End the choice at the first of its stop texts."""
        whole = self.text.decode(row.tokens, self.wanted.skip_special)
        places = [at for stop in self.wanted.stops if (at := whole.find(stop)) >= 0]
        if places:
            choice.cut, choice.finish, row.cancelled = whole[: min(places)], "stop", True

    def cancel(self) -> None:
        """Stop the rows: nobody waits for them any more."""
        for choice in self.choices:
            if choice.row is not None:
                choice.row.cancelled = True

    @property
    def failure(self) -> str | None:
        """Why a row failed, if one did."""
        return next((c.row.error for c in self.choices if c.row is not None and c.row.error), None)

    @property
    def done(self) -> bool:
        """Whether all choices have ended."""
        return all(c.finish is not None for c in self.choices)

    def whole(self) -> dict[str, Any]:
        """The whole reply."""
        choices = [self._choice(c) for c in self.choices]
        made = sum(len(c.row.tokens) for c in self.choices if c.row)
        reply = self.frame.reply(choices, usage(sum(map(len, self.prompts)), made))
        if self.wanted.token_ids and self.frame.chat:
            reply["prompt_token_ids"] = self.prompts[0]
        return reply

    def _choice(self, choice: Choice) -> dict[str, Any]:
        row = choice.row
        assert row is not None
        text = choice.cut if choice.cut is not None else self.text.decode(row.tokens, self.wanted.skip_special)
        body = {"message": {"role": "assistant", "content": text}} if self.frame.chat else {"text": text}
        shown: dict[str, Any] = {
            "index": choice.index,
            **body,
            "logprobs": self._logprobs(row, 0, ""),
            "finish_reason": choice.finish,
            "stop_reason": None,
        }
        if self.wanted.token_ids:
            shown["token_ids"] = row.tokens
            if not self.frame.chat:
                shown["prompt_token_ids"] = row.prompt
        return shown

    def _logprobs(self, row: Row, start: int, before: str) -> dict[str, Any] | None:
        if self.wanted.top_logprobs is None:
            return None
        found = row.logprobs[start:]
        return (
            chat_logprobs(self.text, found) if self.frame.chat else completion_logprobs(self.text, found, len(before))
        )

    def pieces(self) -> list[dict[str, Any]]:
        """The events that are due now."""
        return [piece for choice in self.choices if (piece := self._piece(choice)) is not None]

    def _piece(self, choice: Choice) -> dict[str, Any] | None:
        row = choice.row
        if row is None:
            return None
        finish, count = choice.finish, len(row.tokens)
        tokens = row.tokens[choice.told_tokens : count]
        if not tokens and finish is None:
            return None
        if choice.cut is not None:
            text = choice.cut[choice.unfolding.told :]
        else:
            text = choice.unfolding.more(row.tokens[:count], last=finish is not None)
        shown: dict[str, Any] = {"index": choice.index}
        shown |= {"delta": {"content": text}} if self.frame.chat else {"text": text}
        shown["logprobs"] = self._logprobs(row, choice.told_tokens, "") if tokens else None
        shown["finish_reason"] = finish
        if self.wanted.token_ids:
            shown["token_ids"] = tokens
        choice.told_tokens = count
        if finish is not None:
            choice.row = None
        return self.frame.piece([shown])


def _draw(wanted: Wanted, n: int, generator: torch.Generator) -> Draw:
    own = generator
    if wanted.seed is not None:
        own = torch.Generator()
        own.manual_seed((wanted.seed + n) & 0x7FFF_FFFF_FFFF_FFFF)
    sampling = Sampling(wanted.temperature, wanted.top_p, wanted.top_k, wanted.seed, wanted.top_logprobs)
    return Draw(sampling, own)


def frame(model: str, chat: bool) -> Frame:
    """A new reply's head."""
    prefix = "chatcmpl-" if chat else "cmpl-"
    return Frame(prefix + uuid.uuid4().hex, int(time.time()), model, chat)


async def answer_whole(generation: Generation, receive: Receive, send: Send) -> None:
    """Wait for all rows, then answer; give up when the client leaves."""
    leaving = asyncio.ensure_future(_left(receive, generation))
    try:
        while not generation.done:
            await generation.news.wait()
            generation.news.clear()
    finally:
        leaving.cancel()
    if generation.failure is not None:
        await answer(send, 500, error(generation.failure, "InternalServerError", 500))
        return
    await answer(send, 200, generation.whole())


async def answer_stream(generation: Generation, receive: Receive, send: Send) -> None:
    """Send each token as it comes."""
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    leaving = asyncio.ensure_future(_left(receive, generation))
    made = 0
    try:
        for piece in _openings(generation):
            await _event(send, piece)
        open_rows = [c.row for c in generation.choices if c.row is not None]
        while not generation.done or any(c.row is not None for c in generation.choices):
            await generation.news.wait()
            generation.news.clear()
            if (failure := generation.failure) is not None:
                await _event(send, error(failure, "InternalServerError", 500))
                break
            for piece in generation.pieces():
                await _event(send, piece)
        made = sum(len(row.tokens) for row in open_rows)
    finally:
        leaving.cancel()
        generation.cancel()
    if generation.wanted.include_usage:
        counts = usage(sum(map(len, generation.prompts)), made)
        await _event(send, generation.frame.piece([]) | {"usage": counts})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


def _openings(generation: Generation) -> list[dict[str, Any]]:
    """The chat route begins each choice with its role."""
    if not generation.frame.chat:
        return []
    first: dict[str, Any] = {"delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    pieces = [generation.frame.piece([{"index": c.index} | first]) for c in generation.choices]
    if generation.wanted.token_ids:
        pieces[0]["prompt_token_ids"] = generation.prompts[0]
    return pieces


async def _event(send: Send, content: dict[str, Any]) -> None:
    await send({"type": "http.response.body", "body": b"data: " + _encode(content) + b"\n\n", "more_body": True})


async def _left(receive: Receive, generation: Generation) -> None:
    """Cancel the rows when the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    generation.cancel()
    for choice in generation.choices:
        choice.finish = choice.finish or "abort"
    generation.news.set()


def submit(engine: Engine, generation: Generation, adapter: Adapter | None, limit: int, noise: torch.Generator) -> None:
    """Hand the rows to the engine; ``limit``: tokens that prompt and reply may have together. Raises EngineBusy."""
    engine.submit(generation.rows(adapter, [limit - len(p) for p in generation.prompts], noise))
