"""Users of an episode: their requests, what they think of the answers, and how their events travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from daemon.invariants import Served
from streams.events import Exchange, Feedback, FeedbackKind, Message, Trust
from tests.episodes.played import (
    BASE,
    DEPLOYMENT,
    PLAIN,
)

if TYPE_CHECKING:
    from tests.episodes.world import World

AN_EXCHANGE: Final = Exchange(
    exchange_id="x",
    deployment=DEPLOYMENT,
    tenant="default",
    session="s",
    identity="u",
    messages=(Message(role="user", content="question"),),
    completion="answer",
    version=BASE,
    received_at=0.0,
    dispatched_at=0.0,
    completed_at=0.0,
    status=200,
)
A_THUMB: Final = Feedback(
    feedback_id="f",
    exchange_id="x",
    deployment=DEPLOYMENT,
    tenant="default",
    kind=FeedbackKind.THUMB,
    trust=Trust.TOKEN,
    sent_at=0.0,
)


Event = TypeVar("Event", Exchange, Feedback)


def like(event: Event, facts: dict[str, Any]) -> Event:
    """The event with some fields changed: ``model_copy`` without what a frozen event of plain fields does not need."""
    made = object.__new__(type(event))
    put = object.__setattr__
    put(made, "__dict__", event.__dict__ | facts)
    put(made, "__pydantic_fields_set__", event.model_fields_set | facts.keys())
    put(made, "__pydantic_extra__", None)
    put(made, "__pydantic_private__", None)
    return made


def request(world: World) -> None:
    """One request of one user, and perhaps what he thinks of the answer."""
    rng, host = world.rng, world.host
    ready = [r for r in host.replicas if r.ready]
    if not ready:
        return
    replica = rng.choice(ready)
    world.number += 1
    number = world.number
    old = rng.random() < 0.2 and number > 1
    session = f"s{rng.randrange(1, number) if old else number}"
    choice = host.choose(replica, session)
    version = choice.version or BASE
    if choice.version is not None and choice.version not in replica.models:
        version = BASE
    quality = world.qualities.get(version, PLAIN)
    status = 500 if rng.random() < quality.fails else 200
    epoch = 0 if replica.held is None else replica.held.file.epoch
    proved = version in replica.truth
    host.served.append(Served(replica.name, str(replica.incarnation), version, epoch, proved))
    drift = rng.random()
    facts: dict[str, Any] = {
        "exchange_id": f"x{number}",
        "session": session,
        "identity": f"u{session}",
        "finish_reason": "input" if drift < 0.02 else "reward" if drift < 0.03 else None,
        "version": version,
        "rollout": choice.rollout,
        "arm": choice.arm,
        "propensity": choice.propensity,
        "route_epoch": epoch,
        "received_at": world.now,
        "dispatched_at": world.now,
        "completed_at": world.now + 0.1,
        "status": status,
    }
    exchange = like(AN_EXCHANGE, facts)
    send(world, exchange, rng.choice((0.0, 0.0, 0.0, 1.0, 3.0)))
    if rng.random() < 0.75:
        delay = rng.choice((0.5, 1.0, 1.0, 2.0, 6.0, 60.0))
        facts = {
            "feedback_id": f"f{number}",
            "exchange_id": f"x{number}",
            "session": session,
            "identity": f"u{session}",
            "value": rng.random() < quality.up,
            "sent_at": world.now + delay,
        }
        said = like(A_THUMB, facts)
        send(world, said, delay, "forged" if rng.random() < 0.05 else "t")


def send(world: World, event: Exchange | Feedback, delay: float, token: str = "t") -> None:
    """Put an event under way: sometimes twice, sometimes late."""
    world.asides.append((world.mono + delay, event, token))
    if world.rng.random() < 0.08:
        world.asides.append((world.mono + delay + world.rng.choice((0.0, 2.0, 20.0)), event, token))
