"""Users of the gateways: sessions at a steady rate, thumbs by arm, and a record of every reply."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, cast

import aiohttp

from tests.deploy.serving import CHAT, TOKEN, question

TIMEOUT_S: Final = 30.0
IN_FLIGHT_MAX: Final = 64
SECOND_TURN: Final = 0.2
"""Share of the sessions that ask twice."""
CHANGED_MIND: Final = 0.05
"""Share of the thumbs that are turned within two seconds: some within the maturity window of the unit, some after."""
WORDS: Final = ("card", "order", "refund", "parcel", "account", "password", "delivery", "invoice", "reset", "status")


class Answered(Exception):
    """A replica answered, and not with 200."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answered request. Times are wall-clock seconds."""

    exchange_id: str
    session: str
    replica: str
    arm: str
    version: str
    epoch: int
    sent_at: float
    done_at: float


@dataclass
class Traffic:
    """``with Traffic(...)``: requests from entering to leaving; on leaving every reply and feedback is in.

    ``thumbs``: chance of a thumb up by arm (control, canary; ``none`` counts as control).
    ``balanced``: ask only replicas that say they are ready, and a second one where the first breaks off, as a load
    balancer does; otherwise replicas take turns and whatever fails has failed.
    """

    urls: Mapping[str, str]
    thumbs: Mapping[str, float]
    sessions_per_s: float = 20.0
    seed: int = 7
    balanced: bool = False
    replies: list[Reply] = field(default_factory=list[Reply])
    feedback: list[str] = field(default_factory=list[str])
    """Ids of accepted feedback."""
    failures: list[str] = field(default_factory=list[str])
    broken_off: list[str] = field(default_factory=list[str])
    """Replicas that broke a request off, which another one then answered."""
    ready: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """What each replica answered when asked whether it is ready (0: nothing), changes only."""

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="traffic", daemon=True)
        self._turn = itertools.count()
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_S + 5.0)
        assert not self._thread.is_alive(), "the traffic did not end"

    def since(self, at: float) -> Sequence[Reply]:
        """Replies to requests sent at or after ``at``."""
        return [r for r in list(self.replies) if r.sent_at >= at]

    async def _main(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0, force_close=False)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http, asyncio.TaskGroup() as tasks:
            if self.balanced:
                tasks.create_task(self._watch_ready(http))
            began = time.monotonic()
            for number in itertools.count():
                while (wait := began + number / self.sessions_per_s - time.monotonic()) > 0:
                    await asyncio.sleep(min(wait, 0.1))
                    if self._stop.is_set():
                        return
                if self._stop.is_set():
                    return
                await self._room.acquire()
                tasks.create_task(self._session(http, number))

    async def _session(self, http: aiohttp.ClientSession, number: int) -> None:
        rng = random.Random(self._rng.getrandbits(64))
        try:
            await self._turn_of(http, number, rng)
            if rng.random() < SECOND_TURN:
                await asyncio.sleep(0.3)
                await self._turn_of(http, number, rng)
        finally:
            self._room.release()

    async def _turn_of(self, http: aiohttp.ClientSession, number: int, rng: random.Random) -> None:
        text = " ".join(rng.choices(WORDS, k=4))
        tried: list[str] = []
        while True:
            replica = self._pick(tried)
            tried.append(replica)
            try:
                reply, token = await self._ask(http, replica, f"s{self.seed}-{number}", text)
                break
            except Answered as error:
                self.failures.append(f"{replica}: {error}")
                return
            except (aiohttp.ClientError, TimeoutError) as error:
                if not self.balanced or len(tried) > 1:
                    self.failures.append(f"{replica}: {error!r}")
                    return
                self.broken_off.append(replica)
        self.replies.append(reply)
        await asyncio.sleep(rng.uniform(0.0, 0.2))
        up = rng.random() < self.thumbs["canary" if reply.arm == "canary" else "control"]
        await self._rate(http, replica, reply.exchange_id, token, up, "thumb")
        if rng.random() < CHANGED_MIND:
            await asyncio.sleep(rng.uniform(0.0, 2.0))
            await self._rate(http, replica, reply.exchange_id, token, not up, "changed")

    def _pick(self, tried: Sequence[str]) -> str:
        names = [n for n in self.urls if n not in tried]
        ready = [n for n in names if not self.balanced or self._is_ready(n)] or names
        return ready[next(self._turn) % len(ready)]

    def _is_ready(self, name: str) -> bool:
        known = self.ready.get(name)
        return known is None or known[-1] == 200

    async def _ask(self, http: aiohttp.ClientSession, replica: str, session: str, text: str) -> tuple[Reply, str]:
        headers = {"x-session-id": session, "x-user-id": f"u-{session}", "x-homeostat-control": TOKEN}
        sent = time.time()
        async with http.post(self.urls[replica] + CHAT, json=question(text, max_tokens=4), headers=headers) as response:
            body = await response.read()
            if response.status != 200:
                raise Answered(f"{response.status} {body[:200]!r}")
            shown = response.headers
            reply = Reply(
                exchange_id=shown["x-homeostat-exchange"],
                session=session,
                replica=replica,
                arm=shown["x-homeostat-arm"],
                version=shown["x-homeostat-version"],
                epoch=int(shown["x-homeostat-epoch"]),
                sent_at=sent,
                done_at=time.time(),
            )
            return reply, shown["x-homeostat-token"]

    async def _rate(
        self, http: aiohttp.ClientSession, replica: str, exchange: str, token: str, up: bool, name: str
    ) -> None:
        body = {"exchange_id": exchange, "token": token, "value": up, "id": name}
        for place in (replica, *(n for n in self.urls if n != replica and self.balanced)):
            try:
                async with http.post(f"{self.urls[place]}/v1/feedback", json=body) as response:
                    content = cast("dict[str, Any]", await response.json())
                    if response.status == 202:
                        self.feedback.append(str(content["id"]))
                        return
                    self.failures.append(f"{place}: feedback {response.status} {content}")
                    return
            except (aiohttp.ClientError, TimeoutError) as error:
                if not self.balanced:
                    self.failures.append(f"{place}: feedback {error!r}")
                    return

    async def _watch_ready(self, http: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            for name, url in self.urls.items():
                answer = 0
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{url}/homeostat/ready", timeout=aiohttp.ClientTimeout(total=2.0)) as response:
                        answer = response.status
                known = self.ready.setdefault(name, [])
                if not known or known[-1] != answer:
                    known.append(answer)
            await asyncio.sleep(0.02)
