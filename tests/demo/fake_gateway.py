"""A gateway in the small: answers, mints ids and tokens, keeps what it was told. Real HTTP, no model behind it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass
class FakeGateway:
    """``answers`` maps a question's text to the reply; what is not there gets ``default``."""

    answers: dict[str, str] = field(default_factory=dict[str, str])
    default: str = "no idea"
    version: str = "support-base"
    fail_every: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    feedback: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    last_dispatch: dict[str, float] = field(default_factory=dict[str, float])
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def app(self) -> web.Application:
        """The routes that the users and the measurements need."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/feedback", self._feedback)
        app.router.add_get("/homeostat/gateway", self._state)
        return app

    async def _chat(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        number = next(self._ids)
        named = {k: request.headers.get(k) for k in ("x-session-id", "x-user-id", "x-homeostat-control")}
        self.asked.append({**named, "model": body["model"], "text": body["messages"][-1]["content"]})
        if self.fail_every and number % self.fail_every == 0:
            return web.json_response({"error": {"message": "engine died"}}, status=503)
        version = body["model"] if body["model"] != "support" else self.version
        self.last_dispatch[version] = time.time()
        text = self.answers.get(body["messages"][-1]["content"], self.default)
        headers = {"x-homeostat-exchange": f"exchange-{number}", "x-homeostat-token": f"token-{number}"}
        if named["x-homeostat-control"] == "control":
            headers |= {"x-homeostat-version": version, "x-homeostat-arm": "none", "x-homeostat-epoch": "3"}
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}]}, headers=headers)

    async def _feedback(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        if body.get("token") != str(body.get("exchange_id")).replace("exchange", "token"):
            return web.json_response({"error": "bad token"}, status=401)
        self.feedback.append(body)
        return web.json_response({"id": f"feedback-{len(self.feedback)}"}, status=202)

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response({"versions": {v: {"last_dispatch": at} for v, at in self.last_dispatch.items()}})


class TinyPlace:
    """Two old desks and a new one, three questions each, readable at a glance."""

    old_desks = ("cards", "loans")
    new_desks = ("travel",)

    def __init__(self) -> None:
        from daemon.demo.places import Question

        desks = (*self.old_desks, *self.new_desks)
        self.questions = {d: [Question(f"{d} question {i}?", d, f"{d} reply {i}.") for i in range(3)] for d in desks}

    def ask(self, desk: str, rng: Any) -> Any:
        """Any of the desk's three."""
        return rng.choice(self.questions[desk])

    def tests(self, desk: str, count: int, seed: int) -> Any:
        """The first ones."""
        return self.questions[desk][:count]

    def replies(self, desk: str) -> Any:
        """The desk's replies."""
        return [q.right for q in self.questions[desk]]


class TinyWorld(TinyPlace):
    """The same with what set-up asks of a world."""

    def base_pairs(self) -> list[tuple[str, str]]:
        """Old desks' questions."""
        return [(q.text, q.right) for desk in self.old_desks for q in self.questions[desk]]

    def base_lines(self) -> list[str]:
        """Every question."""
        return [q.text for desk in self.questions.values() for q in desk]

    def anchor_pairs(self, desks: Any, count: int, seed: int) -> list[tuple[str, str]]:
        """The first question of each desk."""
        return [(self.questions[d][0].text, self.questions[d][0].right) for d in desks]

    def oracle(self, text: str) -> str:
        """The right reply."""
        return next(q.right for desk in self.questions.values() for q in desk if q.text == text)

    def desk_of(self, text: str) -> str:
        """The desk."""
        return next(q.desk for desk in self.questions.values() for q in desk if q.text == text)
