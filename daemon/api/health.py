"""/healthz, /readyz and /metrics: open, and silent about anything but health and figures."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from daemon.api.access import state

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers. Async, so that busy worker threads cannot make it look dead."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """200 when events are consumed and ticks run, else 503 with the reason."""
    found = state(request).controller.readiness()
    return JSONResponse({"ready": found.ok, "reason": found.reason}, status_code=200 if found.ok else 503)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus exposition."""
    return Response(generate_latest(state(request).registry), media_type=CONTENT_TYPE_LATEST)
