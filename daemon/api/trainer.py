"""Routes of the trainer: scope ``train``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from adapters.job import ClaimRequest, JobReport
from daemon.api.access import Trainer, state

router = APIRouter(prefix="/api/v1/trainer", tags=["trainer"])


@router.post("/claim")
def claim(request: Request, _who: Trainer, body: ClaimRequest) -> Response:
    """200 with a TrainJob, or 204 when there is nothing to do."""
    job = state(request).controller.trainer_claim(body.worker)
    return Response(status_code=204) if job is None else JSONResponse(job)


@router.post("/jobs/{job_id}")
def report(request: Request, _who: Trainer, job_id: str, body: JobReport) -> dict[str, bool]:
    """Progress or the end of a job; ``continue`` false: nobody waits for it any more."""
    go_on = state(request).controller.trainer_report(job_id, body.model_dump(mode="json"))
    return {"continue": go_on}
