"""Routes that command: scope ``operate``, ``admin`` for a promotion without evidence.

Each calls the controller at once, in a worker thread of the API: a rollback never waits for a tick.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from daemon.api.access import Admin, Operator, state
from daemon.api.ports import By, Json

router = APIRouter(prefix="/api/v1", tags=["commands"])


class Command(BaseModel):
    """Body of every command."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=200)] = ""
    """Why, in a person's words; it goes into the ledger."""


class RollbackCommand(Command):
    """Body of a rollback."""

    to: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    """A version of the stack; None: the previous one."""
    suspend_data: bool = False
    """Also keep the rolled-back version's new examples out of later training."""


class ApproveCommand(Command):
    """Body of an approval."""

    version: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    """A denied version that may be routed again; None: the canary or promotion that waits."""
    examples: bool = False
    """Also let later versions learn from the examples that the version's rollback suspended."""


class AdaptCommand(Command):
    """Body of a wish for a cycle."""

    overrides: dict[str, Any] = Field(default_factory=dict[str, Any], max_length=50)
    """Settings that differ from the config for this cycle alone."""


@router.post("/rollback")
def rollback(request: Request, who: Operator, command: RollbackCommand) -> Json:
    """Go back; answered when every reachable gateway has the route."""
    by = By(who.name, command.reason)
    return state(request).controller.rollback(by, command.to, command.suspend_data)


@router.post("/promote")
def promote(request: Request, who: Admin, command: Command) -> Json:
    """Promote the candidate of the running rollout without waiting for evidence."""
    return state(request).controller.promote(By(who.name, command.reason))


@router.post("/approve")
def approve(request: Request, who: Operator, command: ApproveCommand) -> Json:
    """Allow what waits for a person, or lift the denial of a version; the latter needs a reason."""
    return state(request).controller.approve(By(who.name, command.reason), command.version, command.examples)


@router.post("/abort")
def abort(request: Request, who: Operator, command: Command) -> Json:
    """End the running rollout or cycle."""
    return state(request).controller.abort(By(who.name, command.reason))


@router.post("/pause")
def pause(request: Request, who: Operator, command: Command) -> Json:
    """Start nothing new."""
    return state(request).controller.pause(By(who.name, command.reason))


@router.post("/resume")
def resume(request: Request, who: Operator, command: Command) -> Json:
    """Go on. After a freeze this needs a reason, which lifts it."""
    return state(request).controller.resume(By(who.name, command.reason))


@router.post("/adapt")
def adapt(request: Request, who: Operator, command: AdaptCommand) -> Json:
    """Start a cycle now."""
    return state(request).controller.adapt(By(who.name, command.reason), command.overrides)
