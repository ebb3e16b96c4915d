"""Exchanges of a rollout for tests, one line each."""

from streams.events import Attempt, Exchange, Message


def exchange(
    session: str,
    *,
    canary: bool = True,
    at: float = 0.0,
    identity: str | None = None,
    propensity: float | None = 0.5,
    rollout: str | None = "r1",
    status: int = 200,
    first_status: int | None = None,
    latency_s: float = 0.1,
    prompt: str = "where is my parcel",
    number: int = 0,
) -> Exchange:
    """One exchange of ``session``; ``first_status`` is that of an attempt hidden by a retry."""
    return Exchange(
        exchange_id=f"{session}-{number}",
        deployment="d",
        tenant="default",
        session=session,
        identity=identity or session,
        messages=(Message(role="user", content=prompt),),
        completion="on its way",
        version="d-new" if canary else "d-old",
        rollout=rollout,
        arm=("canary" if canary else "control") if rollout else None,
        propensity=propensity,
        received_at=at,
        dispatched_at=at,
        completed_at=at + latency_s,
        status=status,
        attempts=(Attempt(version="d-new", status=first_status),) if first_status else (),
    )
