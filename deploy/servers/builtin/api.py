# pyright: standard
"""The routes of the built-in server, with vLLM's wire format, status codes and error texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import torch
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deploy.gateway.asgi import Message, Receive, Scope, Send, answer, error, read_body
from deploy.servers.builtin import generate
from deploy.servers.builtin.engine import Engine, EngineBusy
from deploy.servers.builtin.lora import Adapter, AdapterNotFound, AdapterUnusable
from deploy.servers.builtin.protocol import (
    BadRequest,
    ChatRequest,
    CompletionRequest,
    Defaults,
    LoadRequest,
    UnloadRequest,
    plain_messages,
    prompts_of,
    wanted,
)
from deploy.servers.builtin.text import ChatNotPossible, Text

VERSION = "homeostat-builtin-0.1"
MAX_BODY = 8 << 20
_chat = msgspec.json.Decoder(ChatRequest)
_completion = msgspec.json.Decoder(CompletionRequest)
_load = msgspec.json.Decoder(LoadRequest)
_unload = msgspec.json.Decoder(UnloadRequest)
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Served:
    """The base model as clients see it."""

    names: tuple[str, ...]
    folder: str
    max_len: int
    defaults: Defaults


class Api:
    """The ASGI application. The engine is made by ``begin`` on the event loop, at start-up."""

    def __init__(self, served: Served, text: Text, begin: Callable[[], Engine], noise: torch.Generator) -> None:
        self._served = served
        self._text = text
        self._begin = begin
        self._noise = noise
        self._engine: Engine | None = None
        self._started = int(time.time())
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/load_lora_adapter"): self._load,
            ("POST", "/v1/unload_lora_adapter"): self._unload,
            ("GET", "/health"): self._health,
            ("GET", "/ping"): self._health,
            ("GET", "/version"): self._version,
            ("GET", "/metrics"): self._metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        handler = self._routes.get((scope["method"], scope["path"]))
        if handler is None:
            known = any(path == scope["path"] for _, path in self._routes)
            status = 405 if known else 404
            await answer(send, status, {"detail": "Method Not Allowed" if known else "Not Found"})
            return
        try:
            await handler(scope, receive, send)
        except BadRequest as fault:
            kind = "NotFoundError" if fault.status == 404 else "BadRequestError"
            await answer(send, fault.status, error(str(fault), kind, fault.status, fault.param))
        except EngineBusy as fault:
            await answer(send, 503, error(str(fault), "ServiceUnavailableError", 503))

    @property
    def engine(self) -> Engine:
        """The running engine."""
        assert self._engine is not None, "the server has not been started"
        return self._engine

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._engine = self._begin()
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self.engine.stop, 2.0)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _adapter(self, model: str | None) -> Adapter | None:
        if not model or model in self._served.names:
            return None
        adapter = self.engine.bank.named.get(model)
        if adapter is None:
            names = ", ".join(self._served.names)
            raise BadRequest(f"The model `{model}` does not exist. Valid aliases: {names}.", "model", 404)
        return adapter

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(receive, _chat)
        adapter = self._adapter(request.model)
        if not request.messages:
            raise BadRequest("messages: at least one message expected", "messages")
        try:
            prompts = [self._text.chat(plain_messages(request.messages))]
        except ChatNotPossible as fault:
            raise BadRequest(str(fault), "messages") from fault
        await self._generate(request, adapter, prompts, True, receive, send)

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(receive, _completion)
        adapter = self._adapter(request.model)
        prompts = [self._text.encode(p) if isinstance(p, str) else p for p in prompts_of(request)]
        await self._generate(request, adapter, prompts, False, receive, send)

    async def _generate(
        self,
        request: ChatRequest | CompletionRequest,
        adapter: Adapter | None,
        prompts: list[list[int]],
        chat: bool,
        receive: Receive,
        send: Send,
    ) -> None:
        limit = self._served.max_len
        for prompt in prompts:
            self._check_prompt(prompt, limit)
        generation = generate.Generation(
            wanted(request, self._served.defaults),
            generate.frame(request.model or self._served.names[0], chat),
            self._text,
            prompts,
        )
        generate.submit(self.engine, generation, adapter, limit, self._noise)
        reply = generate.answer_stream if generation.wanted.stream else generate.answer_whole
        await reply(generation, receive, send)

    def _check_prompt(self, prompt: list[int], limit: int) -> None:
        if not prompt:
            raise BadRequest("prompt: at least one token expected", "prompt")
        if len(prompt) >= limit:
            raise BadRequest(
                f"This model's maximum context length is {limit} tokens. However, your prompt contains "
                f"{len(prompt)} tokens. Please reduce its length.",
                "prompt",
            )
        if min(prompt) < 0 or max(prompt) >= self._text.vocabulary:
            raise BadRequest(f"Token ids must be between 0 and {self._text.vocabulary - 1}.", "prompt")

    async def _models(self, scope: Scope, receive: Receive, send: Send) -> None:
        served = self._served
        cards: list[dict[str, Any]] = [
            _card(name, served.folder, None, self._started) | {"max_model_len": served.max_len} for name in served.names
        ]
        adapters = self.engine.bank.named.values()
        cards += [_card(a.name, a.path, served.names[0], self._started) for a in adapters]
        await answer(send, 200, {"object": "list", "data": cards})

    async def _load(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(receive, _load)
        name, path = request.lora_name, request.lora_path
        if not name or not path:
            await _refuse(send, 400, "Both 'lora_name' and 'lora_path' must be provided.")
        elif name in self._served.names:
            await _refuse(send, 400, f"The lora adapter '{name}' conflicts with a served base model.")
        elif request.load_inplace:
            await _refuse(send, 400, "load_inplace is not supported: a version is a new name and a new path.")
        else:
            await self._load_checked(name, path, send)

    async def _load_checked(self, name: str, path: str, send: Send) -> None:
        engine = self.engine
        try:
            # Read and checked off the engine's thread, so that running rows do not wait for the disk.
            adapter = await asyncio.to_thread(engine.bank.read, name, path)
            added = await asyncio.wrap_future(engine.call(lambda: _add(engine, adapter)))
        except AdapterNotFound as fault:
            await answer(send, 404, error(str(fault), "NotFoundError", 404))
        except AdapterUnusable as fault:
            await answer(send, 500, error(str(fault), "InternalServerError", 500))
        else:
            if added:
                await _plain(send, f"Success: LoRA adapter '{name}' added successfully.")
            else:
                await _refuse(send, 400, f"The lora adapter '{name}' has already been loaded.")

    async def _unload(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = (await _read(receive, _unload)).lora_name
        engine = self.engine
        if not name:
            await _refuse(send, 400, "'lora_name' needs to be provided to unload a LoRA adapter.")
        elif await asyncio.wrap_future(engine.call(lambda: _remove(engine, name))):
            await _plain(send, f"Success: LoRA adapter '{name}' removed successfully.")
        else:
            await answer(send, 404, error(f"The lora adapter '{name}' cannot be found.", "NotFoundError", 404))

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        alive = self.engine.alive
        await answer(send, 200 if alive else 503, {} if alive else {"error": self.engine.dead})

    async def _version(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, {"version": VERSION})

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _plain(send, generate_latest().decode(), CONTENT_TYPE_LATEST)


async def _read(receive: Receive, decoder: msgspec.json.Decoder[T]) -> T:
    body = await read_body(receive, MAX_BODY)
    if not body.complete:
        raise BadRequest(f"body: at most {MAX_BODY} bytes expected", status=413)
    try:
        return decoder.decode(body.data)
    except msgspec.MsgspecError as fault:
        raise BadRequest(str(fault)) from fault


def _add(engine: Engine, adapter: Adapter) -> bool:
    """On the engine's thread. False when the name is taken."""
    if adapter.name in engine.bank.named:
        return False
    engine.bank.add(adapter, engine.in_use())
    return True


def _remove(engine: Engine, name: str) -> bool:
    """On the engine's thread. False when there is no such adapter."""
    if name not in engine.bank.named:
        return False
    engine.bank.remove(name, engine.in_use())
    return True


def _card(name: str, root: str, parent: str | None, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "homeostat",
        "root": root,
        "parent": parent,
    }


async def _refuse(send: Send, status: int, message: str) -> None:
    await answer(send, status, error(message, "InvalidUserInput", status))


async def _plain(send: Send, text: str, kind: str = "text/plain; charset=utf-8") -> None:
    data = text.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(data))]
    start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": data})
