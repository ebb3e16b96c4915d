# pyright: standard
"""The engine: one thread that owns the model and steps the running batch.

    submit --> [ waiting: bounded ] --admit--> batch: step, step, ... --> on_step / on_end on the event loop
    call   --> [ work between two steps: load, unload ] --> future

Loading and unloading run between two steps, so a swap never tears a running row; a row keeps the adapter it began with.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from deploy.servers.builtin.batch import Batch, Row
from deploy.servers.builtin.lora import LoraBank

log = logging.getLogger(__name__)
T = TypeVar("T")


class EngineBusy(RuntimeError):
    """More requests wait than may wait, or the engine has ended: the client should come back later or go elsewhere."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How the engine fills its batch."""

    max_batch: int = 32
    """Rows that step together; more only makes each wait longer on two cores."""
    max_waiting: int = 512
    """Requests that may wait; more are refused with 503."""
    gather_s: float = 0.004
    """Seconds a request may wait for company: reading two prompts in one pass costs half of two passes."""
    max_prefill_tokens: int = 4096
    """Padded prompt tokens read in one pass; bounds its memory."""


def admit(waiting: int, running: int, oldest_s: float, limits: EngineLimits) -> bool:
    """Whether new rows should be read now. Pure.

    Each reading of prompts stalls the running rows for a pass, so newcomers come in company: when they are a quarter of
    the batch, or when one of them has waited long enough.
    """
    room = limits.max_batch - running
    if waiting == 0 or room <= 0:
        return False
    return waiting >= max(1, min(room, limits.max_batch // 4)) or oldest_s >= limits.gather_s


class Engine:
    """Owns model and adapters. ``submit`` and ``call`` may be used from any thread."""

    def __init__(self, model: Any, bank: LoraBank, pad_id: int, limits: EngineLimits, loop: asyncio.AbstractEventLoop):
        self.bank = bank
        self._limits = limits
        self._loop = loop
        self._batch = Batch(model, bank, pad_id)
        self._waiting: deque[tuple[float, Row]] = deque()
        self._work: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.dead: str | None = None
        """Why the thread ended, if it did."""

    def start(self) -> None:
        """Start stepping."""
        self._thread.start()

    @property
    def load(self) -> tuple[int, int]:
        """Running and waiting rows."""
        return len(self._batch.rows), len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether requests are being stepped."""
        return self._thread.is_alive()

    def submit(self, rows: Sequence[Row]) -> None:
        """Queue rows. Raises EngineBusy."""
        with self._wake:
            if self.dead is not None:
                raise EngineBusy(f"the engine has ended: {self.dead}")
            if self._stopping or len(self._waiting) + len(rows) > self._limits.max_waiting:
                raise EngineBusy("the server is stopping" if self._stopping else "too many requests are waiting")
            now = time.monotonic()
            self._waiting.extend((now, row) for row in rows)
            self._wake.notify()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Run ``work`` on the engine's thread between two steps."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except Exception as fault:  # noqa: BLE001 - it belongs to whoever waits for the future
                future.set_exception(fault)

        with self._wake:
            if self.dead is None:
                self._work.append(run)
                self._wake.notify()
                return future
        run()  # nothing steps any more, so any thread may do it
        return future

    def in_use(self) -> list[Any]:
        """Adapters of running and waiting rows: their weights stay, whatever is unloaded meanwhile."""
        rows = [*self._batch.rows, *(row for _, row in tuple(self._waiting))]
        return [row.adapter for row in rows if row.adapter is not None]

    def stop(self, drain_s: float) -> None:
        """Refuse new rows, give running ones ``drain_s`` seconds, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(drain_s)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._turn():
                    pass
        except Exception as fault:
            log.exception("the engine's thread ended; the server must be restarted")
            self._die(f"{type(fault).__name__}: {fault}")
        else:
            self._die("it was stopped")

    def _die(self, why: str) -> None:
        with self._wake:
            self.dead = why
            rows = [*self._batch.clear(), *(row for _, row in self._waiting)]
            work, self._waiting = list(self._work), deque()
            self._work.clear()
        for row in rows:
            row.error, row.finish = f"the engine has ended: {why}", "error"
        if rows:
            self._loop.call_soon_threadsafe(_tell, rows)
        for item in work:
            item()

    def _turn(self) -> bool:
        with self._wake:
            if not self._work and not self._waiting and not self._batch.rows:
                if self._stopping:
                    return False
                self._wake.wait()
                return True
            work, new, patience = list(self._work), self._admitted(), self._patience()
            self._work.clear()
            if not work and not new and not self._batch.rows and patience > 0:
                self._wake.wait(patience)
                return True
        for item in work:
            item()
        if work:
            self._batch.reselect()
        if new:
            self._guarded(lambda: self._batch.join(new), new)
        elif self._batch.rows:
            self._guarded(self._batch.step, [])
        return True

    def _admitted(self) -> list[Row]:
        oldest = time.monotonic() - self._waiting[0][0] if self._waiting else 0.0
        if not admit(len(self._waiting), len(self._batch.rows), oldest, self._limits):
            return []
        rows: list[Row] = []
        longest = 0
        while self._waiting and len(self._batch.rows) + len(rows) < self._limits.max_batch:
            longest = max(longest, len(self._waiting[0][1].prompt))
            if rows and longest * (len(rows) + 1) > self._limits.max_prefill_tokens:
                break
            rows.append(self._waiting.popleft()[1])
        return [row for row in rows if not row.cancelled]

    def _patience(self) -> float:
        if not self._waiting:
            return 0.0
        return self._limits.gather_s - (time.monotonic() - self._waiting[0][0])

    def _guarded(self, advance: Callable[[], None], new: list[Row]) -> None:
        """One pass, and the news of it to the event loop. A failing pass fails its rows and leaves the engine alive."""
        rows = list(dict.fromkeys([*self._batch.rows, *new]))
        try:
            advance()
            self._batch.drop_finished()
        except Exception as fault:
            log.exception("a forward pass failed; its %d rows fail", len(rows))
            self._batch.clear()
            for row in rows:
                row.error, row.finish = f"{type(fault).__name__}: {fault}", "error"
        touched = [r for r in rows if r.finish is not None or r.on_step is not None]
        if touched:
            self._loop.call_soon_threadsafe(_tell, touched)


def _tell(rows: list[Row]) -> None:
    """On the event loop. A row may have moved on since; its listeners read as far as it is."""
    for row in rows:
        try:
            if row.finish is None:
                if row.on_step is not None:
                    row.on_step(row)
            elif not row.told:
                row.told = True
                row.on_end(row)
        except Exception:
            log.exception("telling a request of its tokens failed")
