"""Which exchanges people are asked to rate: unrated ones of the slice, diverse over users, newest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from daemon.asking import slice_of
from daemon.config import Config
from daemon.label_requests import LabelRequest
from daemon.store import Read, exchanges, feedback
from monitors.reward import exchange_reward
from streams.events import Exchange, Trust

LOOKED_AT: Final = 5000
"""Newest exchanges that are looked through for one answer: half a second of one core."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One exchange that a request would have rated. ``session`` is a hash: session keys may be the client's own."""

    exchange_id: str
    at: float
    session: str
    request: str


def most_informative(unrated: Sequence[Exchange], most: int, per_identity: int) -> list[Exchange]:
    """At most ``most`` of them, in rounds over the users: each one's newest first, then each one's second newest, up to
    ``per_identity``. Of a session, which is one unit, the newest alone. Pure; ties go by id.
    """
    newest_first = sorted(unrated, key=lambda x: (x.received_at, x.exchange_id), reverse=True)
    rounds: defaultdict[str, int] = defaultdict(int)
    sessions: set[str] = set()
    placed: list[tuple[int, int, Exchange]] = []
    for place, one in enumerate(newest_first):
        if one.session in sessions or rounds[one.identity] >= per_identity:
            continue
        sessions.add(one.session)
        placed.append((rounds[one.identity], place, one))
        rounds[one.identity] += 1
    return [one for _, _, one in sorted(placed, key=lambda found: found[:2])[:most]]


def wanted(read: Read, requests: Sequence[LabelRequest], config: Config, now: float) -> list[Wanted]:
    """For each open request its exchanges, ``labels.most`` of them in all; what two requests want is named once. Any
    exchange of the history may be trained on; for the other verdicts only those count whose join window is open.
    """
    waiting = [r for r in requests if r.open]
    if not waiting:
        return []
    name, since = config.deployment.name, now - config.cycle.history_s
    unrated = _unrated(read, exchanges.since(read, name, since, now, LOOKED_AT))
    found: list[Wanted] = []
    for number, request in enumerate(waiting):
        inside, known = slice_of(read, request), {one.exchange_id for one in found}
        oldest = since if request.verdict == "training" else now - config.join.window_s
        new = [x for x in unrated if x.exchange_id not in known and x.received_at >= oldest]
        fits = [x for x in new if inside is None or inside.contains(x.prompt)]
        most = (config.labels.most - len(found)) // (len(waiting) - number)
        for one in most_informative(fits, most, config.labels.per_identity):
            session = sha256(one.session.encode()).hexdigest()[:12]
            found.append(Wanted(one.exchange_id, one.received_at, session, request.id))
    return found


def _unrated(read: Read, recent: Sequence[Exchange]) -> list[Exchange]:
    """Replies that may be learnt from, whose text is still there and about which nobody trusted has said anything."""
    usable = [x for x in recent if x.status < 400 and x.arm != "holdback" and x.prompt]
    said = feedback.for_exchanges(read, [x.exchange_id for x in usable])

    def rated(one: Exchange) -> bool:
        trusted = [f for f in said.get(one.exchange_id, ()) if f.trust is not Trust.BARE]
        return exchange_reward(trusted, one.completion).value is not None

    return [x for x in usable if not rated(x)]
