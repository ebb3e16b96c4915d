"""The shadow as work in the background: judged exchanges of the champion, sent again to the candidate and scored.

A thread of its own asks block by block through the gate's port (by version name, so that the gateway captures nothing;
two requests at a time; waiting while the replica is busy) and stores one row an exchange: which, and whether the reply
was right. The reply itself is compared and dropped. What was stored is the state: a restart folds it again and goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from adapters.examples import CONFIRMED_AT, example_of
from daemon.gate_run import CONCURRENCY
from daemon.gauges import set_shadow
from daemon.mirrored import AWAY, Replier, Request, again, answered, fault_of
from daemon.store import Read, Store, buffers, exchanges, feedback, rollouts, shadow_scores, suspended, versions
from deploy.driver import DriverError
from deploy.rollout_config import RolloutConfig
from deploy.shadow import Judged, Score, Shadow, fold, interval, numbers, plan
from monitors.metrics import Metrics
from monitors.reward import REWARD_VERSION, exchange_reward, same_reply
from streams.events import Exchange, Feedback, Trust
from streams.redact import was_redacted

PERIOD_S: Final = 10.0
"""Seconds between two looks for judged exchanges: feedback takes longer, and a look reads thousands of rows."""
MOST_FEEDBACK: Final = 4000
"""Newest feedback that is looked through."""
LOOK_BACK_S: Final = 7 * 86400.0
"""How old feedback may be: a week has every hour of the day and every weekday once."""
LONGEST: Final = 1024
"""Characters (a token has one at least) of the longest reply or target that is compared."""
MOST_FAILURES: Final = 3
"""Times that the server may fail on an exchange before it is set aside: the next looks may find it well again."""
ASIDE_S: Final = 3600.0
"""Seconds after the last failure for which it is set aside: a server that failed on all of them comes back."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A judged exchange and what a right reply to it is. Lives in memory only."""

    judged: Judged
    request: Request
    text: str


class ShadowTask:
    """The shadow of the active rollout. ``look`` and ``facts`` are the controller's; the thread is our own."""

    def __init__(
        self,
        store: Store,
        replier: Replier,
        deployment: str,
        base_names: tuple[str, ...],
        window_s: float,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        """``base_names``: names under which the base answers, the identity version among them. ``window_s``: seconds
        after its reply in which feedback counts.
        """
        self._store, self._replier, self._deployment = store, replier, deployment
        self._base_names, self._window_s, self._clock = base_names, window_s, clock
        self._metrics = metrics
        self._thread: threading.Thread | None = None
        self._next_at = 0.0
        self._closed = False
        self._failed: dict[str, tuple[int, float]] = {}
        """Exchanges that the candidate's server answered with an error: how often, and when last. Forgotten at a
        restart.
        """

    def close(self) -> None:
        """Ask nothing more; idempotent."""
        self._closed = True

    @property
    def at_work(self) -> bool:
        """Whether requests are under way."""
        return self._thread is not None and self._thread.is_alive()

    def look(self, row: rollouts.Rollout, config: RolloutConfig) -> Shadow:
        """What the scores say so far; starts more work when it is due."""
        now = self._clock()
        if not self.at_work and not self._closed and now >= self._next_at:
            self._next_at = now + PERIOD_S
            self._thread = threading.Thread(target=self._work, args=(row, config), name="shadow", daemon=True)
            self._thread.start()
        with self._store.read() as read:
            seen = fold(shadow_scores.of_rollout(read, row.id))
        set_shadow(self._metrics, seen)
        return seen

    def facts(self, rollout: str, alpha: float) -> dict[str, float]:
        """Numbers for the ledger, with the confidence sequence; empty without scores."""
        with self._store.read() as read:
            return facts(shadow_scores.of_rollout(read, rollout), alpha)

    def _work(self, row: rollouts.Rollout, config: RolloutConfig) -> None:
        now = self._clock()
        with self._store.read() as read:
            scores = shadow_scores.of_rollout(read, row.id)
            recent = shadow_scores.since(read, row.id, now - 60.0)
            if len(scores) + 2 > config.shadow.max_total or recent + 2 > config.shadow.max_per_minute:
                return
            targets, mean_reward = self._targets(read, row, now)
        self._failed = {name: failed for name, failed in self._failed.items() if name in targets}
        usable = [t.judged for name, t in targets.items() if not self._aside(name, now)]
        due = plan(row.id, usable, mean_reward, scores, recent, config)
        block = max((s.block for s in scores), default=0)
        with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="shadow") as pool:
            for pair in due:
                if self._closed:
                    return
                block += 1
                self._replier.wait_until_quiet()
                try:
                    both = [targets[one.exchange_id] for one in pair]
                    asked = list(pool.map(self._right, (row.candidate, row.candidate), both))
                except AWAY:
                    return
                if all(right is None for right in asked):
                    return  # more likely the server's trouble than theirs
                made = [
                    Score(block, one.exchange_id, one.identity, one.corrected, right)
                    for one, right in zip(pair, asked, strict=True)
                    if right is not None
                ]
                if len(made) == len(pair) and not self._store_block(row.id, made):
                    return

    def _right(self, candidate: str, target: _Target) -> bool | None:
        """Whether the candidate's reply is the target; None where the server fails on it. Raises ``AWAY``."""
        try:
            asked = target.request
            reply = self._replier.reply(candidate, asked.messages, asked.max_tokens, asked.sampling)
        except DriverError as error:
            self._metrics.mirrored.labels("shadow", fault_of(error)).inc()
            if isinstance(error, AWAY):
                raise
            name = target.judged.exchange_id
            self._failed[name] = (self._failed.get(name, (0, 0.0))[0] + 1, self._clock())
            return None
        right = same_reply(reply, target.text)
        self._metrics.mirrored.labels("shadow", "right" if right else "wrong").inc()
        return right

    def _aside(self, name: str, now: float) -> bool:
        """Whether an exchange failed so often, and so lately, that it is not asked."""
        times, last = self._failed.get(name, (0, 0.0))
        return times >= MOST_FAILURES and 0.0 <= now - last < ASIDE_S

    def _store_block(self, rollout: str, scores: list[Score]) -> bool:
        """False when nobody waits for it any more."""
        with self._store.begin() as tx:
            row = rollouts.get(tx, rollout)
            if row is None or not row.active or self._closed:
                return False
            shadow_scores.add(tx, rollout, scores, self._clock())
        return True

    def _targets(self, read: Read, row: rollouts.Rollout, now: float) -> tuple[dict[str, _Target], float]:
        """Judged exchanges of the control that the candidate did not learn from, and the control's mean reward over all
        judged ones (NaN without any).
        """
        said: dict[str, list[Feedback]] = {}
        for one in feedback.since(read, self._deployment, now - LOOK_BACK_S, now + 1.0, MOST_FEEDBACK):
            if one.trust is not Trust.BARE:
                said.setdefault(one.exchange_id, []).append(one)
        known = self._looked_at(read, row.candidate) | suspended.all_ids(read)
        control = str(row.control)
        same = self._base_names if control in self._base_names else (control,)
        found: dict[str, _Target] = {}
        rewards: list[float] = []
        for name, exchange in exchanges.get_many(read, said).items():
            if exchange.version not in same or exchange.arm not in (None, "control") or not answered(exchange):
                continue
            counted = [f for f in said[name] if f.sent_at <= exchange.completed_at + self._window_s]
            reward = exchange_reward(counted, exchange.completion).value
            if reward is not None:
                rewards.append(reward)
            target = None if name in known else _target(exchange, counted, reward)
            if target is not None:
                found[name] = target
        return found, sum(rewards) / len(rewards) if rewards else float("nan")

    @staticmethod
    def _looked_at(read: Read, candidate: str) -> set[str]:
        """Exchanges from which the candidate's training and gate were selected. Those that selection dropped too: it
        drops doubtful corrections, and among them nothing can be mended.
        """
        version = versions.get(read, candidate)
        if version is None or version.buffer is None:
            return set()
        return {item.exchange_id for item in buffers.items(read, version.buffer)}


def facts(scores: list[Score], alpha: float) -> dict[str, float]:
    """What the ledger records of these scores; empty without any."""
    if not scores:
        return {}
    low, high = interval(scores, alpha)
    return {**numbers(fold(scores)), "shadow_low": low, "shadow_high": high}


def _target(exchange: Exchange, counted: list[Feedback], reward: float | None) -> _Target | None:
    """What feedback says is the right reply; None where it says nothing, or where text is not what it was."""
    example = example_of(exchange, counted, reward, REWARD_VERSION, in_slice=False)
    if example.target is None or not example.target.strip():
        return None
    corrected = not same_reply(example.target, exchange.completion)
    contradicted = corrected and reward is not None and reward >= CONFIRMED_AT
    cut = exchange.finish_reason not in (None, "stop")
    length = max(len(example.target), len(exchange.completion), exchange.completion_tokens or 0)
    if contradicted or cut or length > LONGEST:
        return None
    if any(was_redacted(text) for text in (example.target, *(m.content for m in exchange.messages))):
        return None  # the champion saw what stood there, the candidate would see the label
    if exchange.sampling is not None and not exchange.sampling.repeatable:
        return None  # a tool, a format or a stop of the client's made the reply what it was
    judged = Judged(exchange.exchange_id, exchange.identity, corrected, exchange.received_at)
    return _Target(judged, again(exchange, length + 32), example.target)
