"""The forecast of a rollout's length: scope ``read``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request

from daemon.api.access import Reader, state
from daemon.api.ports import Json
from daemon.power_table import assumed, power_table, under
from daemon.promotion_budget import next_config
from daemon.traffic_rates import recent_rates
from deploy.rollout_config import Preset

router = APIRouter(prefix="/api/v1", tags=["power"])
Share = Annotated[float, Query(gt=0, lt=1)]


@router.get("/power")
def power(
    request: Request,
    _who: Reader,
    sessions_per_hour: Annotated[float | None, Query(ge=0)] = None,
    feedback_rate: Annotated[float | None, Query(ge=0, le=1)] = None,
    slice_share: Annotated[float, Query(gt=0, le=1)] = 1.0,
    effect: Annotated[list[Share] | None, Query(max_length=20)] = None,
    share: Annotated[list[Share] | None, Query(max_length=20)] = None,
    preset: Preset | None = None,
) -> Json:
    """Median units and hours to each verdict of a rollout that began now; 409 where traffic is needed and none came.

    What is not given is taken from the newest traffic, or the config.
    """
    found = state(request)
    now = found.clock()
    with found.store.read() as read:
        policy = next_config(read, found.deployment, under(found.config.rollout, preset), now)
        seen = recent_rates(read, found.deployment, now, policy.maturity_s, policy.deadline_s)
    basis = assumed(sessions_per_hour, feedback_rate, slice_share, seen)
    if basis is None:
        message = "no traffic came in the last day to take rates from: give --sessions-per-hour and --feedback-rate"
        raise HTTPException(409, {"reason": "no_traffic", "message": message})
    return power_table(basis, effect or (), share or (), policy)
