"""The cumulative effect of all promotions against the holdback: scope ``read``."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request

from daemon.api.access import Reader, state
from daemon.api.ports import Json
from daemon.holdback import record
from daemon.lift import lift as measured

router = APIRouter(prefix="/api/v1", tags=["lift"])


@router.get("/lift")
def lift(request: Request, _who: Reader) -> Json:
    """Reward of everybody else minus that of the sessions held back, with an always-valid interval; 409 without one."""
    found = state(request)
    with found.store.read() as read:
        held = record(read)
        if held is None or held.started_at is None:
            message = "no holdback has begun: set holdback.share above 0, and promote something"
            raise HTTPException(409, {"reason": "no_holdback", "message": message})
        return measured(read, found.deployment, held, found.config.rollout, found.clock())
