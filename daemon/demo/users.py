"""The users: many people who ask in short sessions and sometimes say what they think of the reply.

Two loops. *Askers*, ``concurrency`` of them: take a slot from the pacer, ask, write a row, put feedback on the heap.
*Posters*: wait until the earliest feedback of the heap is due, post it, write a row. The pacer hands out slots at the
target rate and never lets unused ones pile up, so that a slow machine means fewer requests and not a burst later.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from dataclasses import dataclass

from daemon.demo.behaviour import Opinion, UsersConfig, feedback_delay, honest, hostile
from daemon.demo.gateway_client import GatewayClient, Reply
from daemon.demo.journal import Journal, Said, Served
from daemon.demo.mix import Mix
from daemon.demo.places import Place, Question

BACKOFF_S = 0.5
"""Seconds that a user waits after a failed request: people do not hammer a broken page."""


class Pacer:
    """Slots at a target rate. A slot that nobody took in time is lost."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = 0.0

    async def take(self) -> None:
        """Wait for the next slot."""
        now = time.monotonic()
        at = max(self._next, now)
        self._next = at + 1.0 / self.rate
        if at > now:
            await asyncio.sleep(at - now)


@dataclass(frozen=True, slots=True)
class Errand:
    """What one session is: who, how often, for good or ill."""

    session: str
    user: str
    turns: int
    hostile: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """A feedback that waits for its delay."""

    opinion: Opinion
    reply: Reply
    row: Served
    question: str
    hostile: bool


class Users:
    """All users of one deployment, as tasks of the running event loop."""

    def __init__(
        self,
        client: GatewayClient,
        alias: str,
        place: Place,
        mix: Mix,
        journal: Journal,
        config: UsersConfig,
        seed: int,
    ) -> None:
        self.config, self.mix, self.journal = config, mix, journal
        self.phase = "quiet"
        """Written into each row; the scenario changes it."""
        self._client, self._alias, self._place = client, alias, place
        self._new = frozenset(place.new_desks)
        self._rng = random.Random(seed)
        self._pacer = Pacer(config.rate)
        self._sessions = itertools.count(1)
        self._heap: list[tuple[float, int, Pending]] = []
        self._order = itertools.count()
        self._due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._said = 0
        self._said_hostile = 0
        self._stopping = False

    def start(self) -> None:
        """Begin to ask."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._ask_forever()) for _ in range(self.config.concurrency)]
        self._tasks += [asyncio.create_task(self._post_forever()) for _ in range(self.config.feedback_concurrency)]

    def pace(self, rate: float) -> None:
        """Change the target rate (requests a second)."""
        self._pacer.rate = rate

    async def stop(self) -> None:
        """Stop; what is in flight is waited for, feedback that is not yet due is not sent."""
        self._stopping = True
        self._due.set()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    def check(self) -> None:
        """Raise what killed a user, if something did: a silent loss of load would flatter every figure."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @property
    def hostile_share(self) -> float:
        """Share of the feedback decided so far that is the hostile user's."""
        return self._said_hostile / self._said if self._said else 0.0

    def _errand(self) -> Errand:
        number = next(self._sessions)
        # The hostile user opens his next session whenever he has fallen behind his share of the feedback.
        bad = self.config.hostile > 0.0 and self._said > 0 and self.hostile_share < self.config.hostile
        user = "user-0" if bad else f"user-{self._rng.randrange(1, self.config.users)}"
        return Errand(f"session-{number}", user, self._rng.randint(1, self.config.turns_max), bad)

    async def _ask_forever(self) -> None:
        while not self._stopping:
            errand = self._errand()
            desk = self.mix.pick(self._rng)
            for _ in range(errand.turns):
                await self._pacer.take()
                if self._stopping:
                    return
                await self._turn(errand, self._place.ask(desk, self._rng))
                if self._rng.random() >= self.config.same_desk:
                    desk = self.mix.pick(self._rng)

    async def _turn(self, errand: Errand, question: Question) -> None:
        phase, sent_at = self.phase, time.time()
        reply = await self._client.ask(
            self._alias, question.text, self.config.max_tokens, session=errand.session, user=errand.user
        )
        row = Served(
            sent_at,
            time.time(),
            question.desk,
            phase,
            reply.ok,
            reply.ok and question.answered_by(reply.text),
            reply.version,
            reply.arm,
            reply.epoch,
            reply.error,
        )
        self.journal.add(row)
        if not reply.ok:
            await asyncio.sleep(BACKOFF_S)
            return
        replies = self._place.replies(question.desk)
        if errand.hostile:
            opinions = hostile(question, reply.text, replies)
        else:
            opinions = honest(question, reply.text, question.desk in self._new, replies, self.config, self._rng)
        for opinion in opinions:
            self._plan(Pending(opinion, reply, row, question.text, errand.hostile))

    def _plan(self, pending: Pending) -> None:
        self._said += 1
        self._said_hostile += pending.hostile
        if len(self._heap) >= self.config.feedback_pending:
            self.journal.feedback_unsent += 1
            return
        due = time.monotonic() + feedback_delay(self.config, self._rng)
        heapq.heappush(self._heap, (due, next(self._order), pending))
        self._due.set()

    async def _post_forever(self) -> None:
        while not self._stopping:
            if not self._heap:
                self._due.clear()
                await self._due.wait()
                continue
            wait = self._heap[0][0] - time.monotonic()
            if wait > 0.0:
                # Short naps instead of one exact sleep: an earlier feedback may come in meanwhile.
                await asyncio.sleep(min(wait, 0.05))
                continue
            await self._post(heapq.heappop(self._heap)[2])

    async def _post(self, pending: Pending) -> None:
        opinion, reply, row = pending.opinion, pending.reply, pending.row
        body: dict[str, object] = {"exchange_id": reply.exchange_id, "kind": opinion.kind, "token": reply.token}
        if opinion.correction is None:
            body["value"] = opinion.value
        else:
            body["correction"] = opinion.correction
        error = await self._client.feedback(body)
        said = Said(
            time.time(),
            row.sent_at,
            row.desk,
            opinion.kind,
            opinion.reward,
            row.arm,
            row.version,
            pending.hostile,
            opinion.wrong,
            pending.question,
            opinion.correction,
            reply.exchange_id or "",
            error is None,
        )
        self.journal.add_said(said)
