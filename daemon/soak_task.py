"""The soak as work in the background: a candidate on one replica answers synthetic requests and recorded ones.

The recorded ones are the newest of this deployment's traffic, sent again through the gate's own port: by version name,
so that the gateway captures nothing, at most two at a time, waiting while the replica is busy. They are drawn as the
client asked for it, the synthetic ones are greedy. The controller asks each tick; None means that the work is not done.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from daemon.gate_run import CONCURRENCY
from daemon.mirrored import Messages, Replier, Request, again, answered, fault_of
from daemon.residency import AWAY
from daemon.store import Store, exchanges
from deploy.driver import DriverError
from deploy.driver_errors import NotFinite, ServerFailed, UnknownModel
from monitors.metrics import Metrics
from streams.events import Exchange

MAX_TOKENS: Final = 32
"""Of a reply: enough to see that an engine computes."""
_SAID: Final[tuple[Messages, ...]] = (
    ({"role": "user", "content": "Hello"},),
    ({"role": "user", "content": "7 + 5 = ?"},),
    ({"role": "user", "content": "Wo ist mein Paket? 我的包裹在哪里？ 📦"},),
    ({"role": "user", "content": "Repeat the last word: " + "one two three four " * 4},),
    (
        {"role": "user", "content": "My order is late."},
        {"role": "assistant", "content": "I am sorry. What is its number?"},
        {"role": "user", "content": "12345"},
    ),
)
SYNTHETIC: Final = tuple(Request(said, MAX_TOKENS) for said in _SAID)
"""Short, numeric, in other scripts, repetitive, of several turns: what an engine meets, not what a candidate should
know. None is long: with its reply it must fit into the smallest context that somebody serves."""


EMPTY: Final = "soak_empty_replies"
REASONS: Final = frozenset(
    {
        "effect_proved_and_soaked",
        "soaked_on_synthetic_alone",
        EMPTY,
        *(f"soak_{e.reason}" for e in (ServerFailed, NotFinite)),
    }
)
"""What a soak ends with, beside the reasons of a replica that is away; docs/reasons.md says what each means."""
ATTEMPTS: Final = 3
"""Times that an error may end a soak before it is the candidate's: a server may be restarting."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """What the soak found. ``failed``: a reason, empty when it passed."""

    failed: str = ""
    synthetic: int = 0
    """Synthetic requests answered."""
    mirrored: int = 0
    """Recorded requests answered; 0 where no traffic is recorded."""
    final: bool = False
    """Asking again will not help: it is not by chance, or it was tried often enough."""

    @property
    def reason(self) -> str:
        """Why the candidate goes on."""
        return "effect_proved_and_soaked" if self.mirrored else "soaked_on_synthetic_alone"

    @property
    def facts(self) -> dict[str, int]:
        """Numbers for the ledger."""
        return {"soak_synthetic": self.synthetic, "soak_mirrored": self.mirrored}


@dataclass(slots=True)
class _Run:
    version: str
    thread: threading.Thread | None = None
    result: Soaked | None = None
    failures: int = 0


class SoakTask:
    """Soaks the newest version that it was asked about. A result is told once; the call behind it soaks again."""

    def __init__(
        self, store: Store, replier: Replier, deployment: str, clock: Callable[[], float], metrics: Metrics
    ) -> None:
        self._store, self._replier, self._deployment, self._clock = store, replier, deployment, clock
        self._metrics = metrics
        self._run = _Run("")

    def result(self, version: str, requests: int) -> Soaked | None:
        """What the soak found with at most ``requests`` recorded requests, starting it when it has not begun."""
        run = self._run
        if run.version != version:
            run = self._run = _Run(version)
        if run.thread is None:
            run.result = None
            run.thread = threading.Thread(target=self._work, args=(run, requests), name="soak", daemon=True)
            run.thread.start()
        elif not run.thread.is_alive():
            run.thread = None  # without a result nothing was learned of the candidate: the next call soaks again
            return run.result if run.result is None else _counted(run, run.result)
        return None

    def _work(self, run: _Run, requests: int) -> None:
        with self._store.read() as read:
            newest = exchanges.since(read, self._deployment, 0.0, self._clock(), 4 * requests)
        recorded = [x for x in newest if answered(x)][-requests:]
        with contextlib.suppress(UnknownModel):
            run.result = soak(self._replier, run.version, [again(x, _tokens(x)) for x in recorded], self._metrics)


def soak(replier: Replier, version: str, recorded: Sequence[Request], metrics: Metrics) -> Soaked:
    """Ask everything, stop at the first error.

    The reason names the error; replies that are empty fail together. Of the recorded requests each had a reply, so more
    than half empty is the candidate's doing; of the synthetic ones nobody knows the reply, so only silence to all is.
    Raises UnknownModel where the replica has lost the candidate meanwhile, as a restart does.
    """

    def ask(one: Request) -> bool:
        replier.wait_until_quiet()
        try:
            said = replier.reply(version, one.messages, one.max_tokens, one.sampling, must_be_finite=True).strip()
        except DriverError as error:
            metrics.mirrored.labels("soak", fault_of(error)).inc()
            raise
        metrics.mirrored.labels("soak", "answered" if said else "empty").inc()
        return bool(said)

    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="soak") as pool:
        try:
            synthetic = list(pool.map(ask, SYNTHETIC))
            mirrored = list(pool.map(ask, recorded))
        except DriverError as error:
            pool.shutdown(cancel_futures=True)
            if isinstance(error, UnknownModel):
                raise
            failed = error.reason if error.reason in AWAY else f"soak_{error.reason}"
            return Soaked(failed, final=isinstance(error, NotFinite))
    empty = 2 * sum(mirrored) < len(mirrored) if mirrored else not any(synthetic)
    by_chance = any(one.drawn for one in recorded)
    return Soaked(EMPTY if empty else "", len(synthetic), len(mirrored), final=empty and not by_chance)


def _counted(run: _Run, found: Soaked) -> Soaked:
    """The same, final when it was tried often enough. A replica that is away says nothing of the candidate; after a
    success or a last word the count begins anew.
    """
    if found.failed in AWAY:
        return found
    run.failures = run.failures + 1 if found.failed else 0
    if run.failures >= ATTEMPTS:
        found = replace(found, final=True)
    if found.final:
        run.failures = 0
    return found


def _tokens(exchange: Exchange) -> int:
    """No more than the recorded reply took: so many surely fit behind its prompt."""
    return max(min(exchange.completion_tokens or MAX_TOKENS, MAX_TOKENS), 1)
