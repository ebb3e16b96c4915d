"""From a feedback request to an event: one route for thumbs, ratings, corrections, preferences and outcomes.

Pure. Without ``kind`` the kind follows from what is there: a correction, else true or false, a number, an outcome's
word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from deploy.gateway.config import ServedDeployment
from deploy.gateway.ids import uuid7
from deploy.gateway.tokens import Claims, TokenError, verify
from streams.codec import MAX_ID, feedback_shape_problem
from streams.events import Feedback, FeedbackKind, Trust

_KINDS = frozenset(FeedbackKind)
OUTCOMES = frozenset(("accepted", "retried", "escalated"))


class FeedbackRequest(BaseModel):
    """The body of ``POST /v1/feedback``. ``exchange_id`` and ``token`` are headers of the reply that is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange_id: StrictStr | None = Field(None, min_length=1, max_length=128)
    token: StrictStr | None = None
    kind: FeedbackKind | None = None
    name: StrictStr = Field("feedback", max_length=64)
    value: StrictBool | StrictInt | StrictFloat | StrictStr | None = None
    correction: StrictStr | None = Field(None, max_length=100_000)
    comment: StrictStr | None = Field(None, max_length=10_000)
    choice: int = Field(0, ge=0, le=128)
    id: StrictStr | None = Field(None, min_length=1, max_length=64)
    """The sender's own id, for retries: the same id for the same exchange counts once."""
    rating_min: float = 1.0
    rating_max: float = 5.0
    model: StrictStr | None = None
    """The alias that was asked; only needed without a token and with several deployments."""
    user: StrictStr | None = Field(None, max_length=MAX_ID)
    """Accepted for compatibility; whose feedback it is stands in the token."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a feedback was not taken: 401 a wrong token, 422 a wrong field."""

    status: int
    message: str
    param: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event, and the token that proves it."""

    feedback: Feedback
    token: str | None


def take(
    body: bytes, key: bytes, deployments: Sequence[ServedDeployment], accept_bare: bool, now: float
) -> Accepted | Refused:
    """The event that a feedback request asks for, or why not."""
    try:
        asked = FeedbackRequest.model_validate_json(body)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"][:1])) or "body"
        return Refused(422, f"{name}: {first['msg']}", name)
    if asked.token is None:
        if not accept_bare:
            return Refused(401, "token: expected the x-homeostat-token header of the reply", "token")
        if asked.exchange_id is None:
            return Refused(422, "exchange_id: expected the x-homeostat-exchange header of the reply", "exchange_id")
        return _bare(asked, asked.exchange_id, deployments, now)
    try:
        claims = verify(key, asked.token, now)
    except TokenError as fault:
        return Refused(401, f"token: {fault}", "token")
    if asked.exchange_id is not None and asked.exchange_id != claims.exchange_id:
        return Refused(401, "token: it was given for another exchange_id", "token")
    return _proved(asked, asked.token, claims, now)


def _proved(asked: FeedbackRequest, token: str, claims: Claims, now: float) -> Accepted | Refused:
    event = _event(asked, claims.exchange_id, Trust.TOKEN, now)
    if isinstance(event, Refused):
        return event
    proved = event.model_copy(
        update={
            "deployment": claims.deployment,
            "tenant": claims.tenant,
            "session": claims.session,
            "identity": claims.identity,
            "token_expiry": float(claims.expires_at),
        }
    )
    return Accepted(proved, token)


def _bare(
    asked: FeedbackRequest, exchange_id: str, deployments: Sequence[ServedDeployment], now: float
) -> Accepted | Refused:
    served = next((d for d in deployments if asked.model in (None, d.alias, d.name)), None)
    if served is None or (asked.model is None and len(deployments) > 1):
        names = ", ".join(d.alias for d in deployments)
        return Refused(422, f"model: expected one of {names}, or a token", "model")
    event = _event(asked, exchange_id, Trust.BARE, now)
    if isinstance(event, Refused):
        return event
    return Accepted(event.model_copy(update={"deployment": served.name, "tenant": served.tenant}), None)


def kind_of(asked: FeedbackRequest) -> FeedbackKind | None:
    """The kind as stated, else as the value says."""
    if asked.kind is not None:
        return asked.kind
    if asked.name in _KINDS:
        return FeedbackKind(asked.name)
    if asked.correction is not None:
        return FeedbackKind.CORRECTION
    if isinstance(asked.value, bool):
        return FeedbackKind.THUMB
    if isinstance(asked.value, int | float):
        return FeedbackKind.RATING
    return FeedbackKind.OUTCOME if asked.value in OUTCOMES else None


def _event(asked: FeedbackRequest, exchange_id: str, trust: Trust, now: float) -> Feedback | Refused:
    kind = kind_of(asked)
    if kind is None:
        return Refused(422, "value: expected true, false, a number, accepted, retried or escalated", "value")
    value = asked.value
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return Refused(422, "value: expected a finite number", "value")
    event = Feedback(
        # Scoped to exchange and trust: nobody can make another's feedback look like a repetition of his own.
        feedback_id=f"{exchange_id}:{trust}:{asked.id}" if asked.id else uuid7(now),
        exchange_id=exchange_id,
        deployment="",
        tenant="",
        kind=kind,
        name=asked.name,
        value=value,
        rating_min=asked.rating_min,
        rating_max=asked.rating_max,
        correction=asked.correction,
        comment=asked.comment,
        choice=asked.choice,
        trust=trust,
        sent_at=now,
    )
    problem = feedback_shape_problem(event)
    if problem is not None:
        return Refused(422, problem, problem.partition(":")[0])
    return event
