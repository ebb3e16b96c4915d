"""Routes that explain a decision with its evidence: scope ``read``."""

from __future__ import annotations

from fastapi import APIRouter, Request

from daemon.api.access import Reader, state
from daemon.api.looks import story, unknown
from daemon.api.ports import Json
from daemon.explain.subject import explain

router = APIRouter(prefix="/api/v1", tags=["evidence"])


@router.get("/evidence/{subject}")
def evidence(request: Request, _who: Reader, subject: str) -> Json:
    """What was decided about a rollout, cycle, alarm or version, by which numbers, and the story behind it.

    ``explanation`` is null for a buffer or an exchange, which have a story alone; 404 for an unknown id.
    """
    found = state(request)
    with found.store.read() as read:
        told = explain(found.store, read, subject, found.config, found.clock())
        behind = story(read, subject)
    if told is None and not behind:
        raise unknown(subject)
    return {"explanation": None if told is None else told.to_dict(), "story": behind}
