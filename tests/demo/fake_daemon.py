"""A daemon in the small beside the small gateway: it walks through an adaptation, one step a look. Real HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.demo.fake_gateway import FakeGateway

Json = dict[str, Any]
NEW, OLD = "support-aaaaaaaaaaaa", "support-identity"

WALK: list[tuple[str | None, str | None]] = [
    ("collecting", None),
    ("training", None),
    ("gating", None),
    ("rolling", "soaking"),
    ("rolling", "canary_small"),
    ("rolling", "canary_half"),
    ("rolling", "probation"),
]
"""(cycle phase, rollout phase), one a look once the corrections are there."""


@dataclass
class FakeDaemon:
    """``learnt`` is what the gateway can answer once the new version serves; ``stuck`` never gets there."""

    gateway: FakeGateway
    learnt: dict[str, str]
    corrections_needed: int = 40
    stuck: bool = False
    unroutes: bool = True
    """False: a rollback is acknowledged and the old version goes on serving."""
    step: int = -1
    champion: str | None = None
    events: list[Json] = field(default_factory=list[Json])
    alarms: list[Json] = field(default_factory=list[Json])

    def app(self) -> web.Application:
        """The routes that the demo uses."""
        app = web.Application()
        app.router.add_get("/api/v1/status", self._status)
        app.router.add_get("/api/v1/events", self._events)
        app.router.add_post("/api/v1/rollback", self._rollback)
        return app

    def _advance(self) -> None:
        told = sum("correction" in f for f in self.gateway.feedback)
        if self.stuck or self.champion is not None or told < self.corrections_needed:
            return
        if not self.alarms:
            self.alarms.append(
                {"alarm_id": "a1", "kind": "input", "detector": "mewma", "primary": True, "confirmed": True,
                 "at": time.time(), "event_index": 1, "evidence": {"top_terms": ["travel"]}}
            )  # fmt: skip
        self.step += 1
        if self.step == 1:
            self._note("cycle", "enough_labels", {"corrections": told})
        if self.step < len(WALK):
            return
        self.champion, self.gateway.version = NEW, NEW
        self.gateway.answers |= self.learnt
        self._note("rollout", "no_harm", {"candidate": NEW})

    def _note(self, kind: str, reason: str, data: Json) -> None:
        number = len(self.events) + 1
        row = {"id": number, "at": time.time(), "kind": kind, "subject": "s", "reason": reason, "data": data}
        self.events.append(row)

    async def _status(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer operator"
        self._advance()
        walking = 0 <= self.step < len(WALK) and self.champion is None
        cycle, rollout = WALK[self.step] if walking else (None, None)
        return web.json_response(
            {
                "champion": self.champion,
                "previous": OLD if self.champion else None,
                "route": {"control": self.champion, "candidate": None, "share": None},
                "cycle": {"phase": cycle, "reason": "x"} if cycle else None,
                "rollout": {"phase": rollout, "share": 0.5, "evidence": {"harm": {"e": 0.5, "needs": 20.0}}}
                if rollout
                else None,
                "counts": {"exchanges": len(self.gateway.asked)},
                "alarms": self.alarms,
            }
        )

    async def _events(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        return web.json_response([e for e in self.events if e["id"] > after])

    async def _rollback(self, request: web.Request) -> web.Response:
        began = time.time()
        left, self.champion, self.stuck = self.champion, None, True
        if self.unroutes:
            self.gateway.version = OLD
        at = time.time()
        return web.json_response(
            {"acked_at": at, "ms": 1000 * (at - began), "from": left, "to": OLD, "epoch": 9, "gateways": {"r": True}}
        )
