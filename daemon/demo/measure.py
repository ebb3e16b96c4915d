"""The figures that the demo reports: served accuracy, the paired loss on the old desks, the roll-back under load."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from daemon.demo.documents import number, part
from daemon.demo.gateway_client import GatewayClient, Reply
from daemon.demo.journal import Served
from daemon.demo.places import Question

Z_95 = 1.6448536269514722
"""One-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A question of a measurement and its reply."""

    question: Question
    reply: Reply

    @property
    def right(self) -> bool:
        """The oracle's word."""
        return self.reply.ok and self.question.answered_by(self.reply.text)


async def ask_all(
    client: GatewayClient,
    model: str,
    questions: Sequence[Question],
    concurrency: int,
    max_tokens: int,
    who: str | None = None,
    told: Callable[[int], None] = lambda _n: None,
) -> list[Answered]:
    """Ask every question once, at most ``concurrency`` at a time; replies in the order of the questions.

    ``who`` names the sessions (each question is one); without it none is sent, as in internal requests by version name.
    """
    answers: list[Answered | None] = [None] * len(questions)
    left = iter(range(len(questions)))
    done = 0

    async def one() -> None:
        nonlocal done
        for i in left:
            name = f"{who}-{i}" if who else None
            reply = await client.ask(model, questions[i].text, max_tokens, session=name, user=name)
            answers[i] = Answered(questions[i], reply)
            done += 1
            told(done)

    await asyncio.gather(*(one() for _ in range(min(concurrency, max(1, len(questions))))))
    return [a for a in answers if a is not None]


@dataclass(frozen=True, slots=True)
class PairedLoss:
    """The same questions asked of two versions."""

    before: float
    after: float
    n: int
    loss_upper95: float
    """One-sided upper 95 % bound of before minus after, normal approximation of the paired mean."""
    failed: int

    def to_json(self) -> dict[str, float | int]:
        """The fields as one object."""
        return asdict(self)


def paired_loss(before: Sequence[bool], after: Sequence[bool], failed: int = 0) -> PairedLoss:
    """Mean loss d = before - after in {-1, 0, 1} and its bound mean(d) + 1.645 sd(d) / sqrt(n), n >= 2.

    No difference at all still leaves uncertainty: the variance is at least that of one changed answer, 1/n.
    Raises ValueError for sequences of unequal or too small length.
    """
    n = len(before)
    if n != len(after) or n < 2:
        raise ValueError(f"expected two sequences of the same length of at least 2, got {n} and {len(after)}")
    differences = [int(b) - int(a) for b, a in zip(before, after, strict=True)]
    mean = sum(differences) / n
    variance = max(sum((d - mean) ** 2 for d in differences) / (n - 1), 1.0 / n)
    return PairedLoss(sum(before) / n, sum(after) / n, n, mean + Z_95 * math.sqrt(variance / n), failed)


async def ask_both(
    client: GatewayClient,
    before: str,
    after: str,
    questions: Sequence[Question],
    concurrency: int,
    max_tokens: int,
    told: Callable[[int], None] = lambda _n: None,
) -> PairedLoss:
    """Ask each question of two versions by name, interleaved so that both meet the same load."""
    jobs = [(q, model) for q in questions for model in (before, after)]
    answers: list[bool] = [False] * len(jobs)
    left = iter(range(len(jobs)))
    failed = done = 0

    async def one() -> None:
        nonlocal failed, done
        for i in left:
            question, model = jobs[i]
            reply = await client.ask(model, question.text, max_tokens)
            failed += not reply.ok
            answers[i] = reply.ok and question.answered_by(reply.text)
            done += 1
            told(done)

    await asyncio.gather(*(one() for _ in range(concurrency)))
    return paired_loss(answers[0::2], answers[1::2], failed)


def old_questions(
    tests: Callable[[str, int, int], Sequence[Question]], desks: Sequence[str], count: int, seed: int
) -> list[Question]:
    """``count`` questions dealt evenly over desks, shuffled; fewer when the desks do not have that many."""
    each = math.ceil(count / len(desks))
    pools = [list(tests(desk, each * 4, seed)) for desk in desks]
    dealt: list[Question] = []
    for depth in range(max((len(pool) for pool in pools), default=0)):
        for pool in pools:
            if depth < len(pool) and len(dealt) < count:
                dealt.append(pool[depth])
    random.Random(seed).shuffle(dealt)
    return dealt


@dataclass(frozen=True, slots=True)
class RollbackFigures:
    """A manual roll-back under load."""

    failed: int
    """Requests of the window that got no 200."""
    dispatched_after_ack: int
    """Requests handed to the old version after the acknowledgement; see ``after_ack``."""
    ms: float
    """From the daemon's acceptance of the command to the last gateway's acknowledgement."""
    requests: int


def after_ack(
    rows: Sequence[Served], old: str, returned_at: float, last_dispatch: float | None, acked_at: float
) -> int:
    """Evidence that the old version was used after the acknowledgement, by two independent witnesses.

    The senders: requests sent after the command had returned and answered by the old version. The gateway: its own
    time of the last dispatch to the old version, when that is later than the acknowledgement (this sees the requests
    that were on their way). Both clocks are this machine's.
    """
    seen_by_senders = sum(1 for row in rows if row.ok and row.sent_at > returned_at and row.version == old)
    seen_by_gateway = int(last_dispatch is not None and last_dispatch > acked_at)
    return max(seen_by_senders, seen_by_gateway)


def last_dispatch(state: Mapping[str, Any], version: str) -> float | None:
    """The gateway's own time of the last request it handed to a version; None when it never did."""
    return number(part(part(state, "versions"), version), "last_dispatch")


class Stopwatch:
    """Names the stages of a run and adds up the seconds of each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name: str | None = None
        self._since = 0.0

    def stage(self, name: str | None) -> None:
        """End the present stage and begin another (None: only end)."""
        now = time.monotonic()
        if self._name is not None:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now

    @property
    def name(self) -> str | None:
        """The present stage."""
        return self._name
