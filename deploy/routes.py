"""The route file: which version answers which alias. Written by the agent of the host alone, read by its gateways.

One reference assignment flips a route; the file carries epoch, actor and reason and is itself the record of a rollback.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

ROUTE_SCHEMA = 1


class RouteModel(BaseModel):
    """Immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Split(RouteModel):
    """A leased share of the sessions for the candidate of a rollout; expiry returns everything to ``Route.control``."""

    rollout: str
    """Rollout id; also the salt of the assignment hash, so that every rollout draws its own sessions."""
    candidate: str
    share: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Probability of the canary arm (the propensity logged with each exchange)."""
    lease_s: Annotated[float, Field(gt=0.0)]
    """Seconds the share lives on the gateway's monotonic clock after the newest renewal it saw."""
    lease_seq: int = 0
    """Raised by one at each renewal. A gateway that has just started holds the share expired until it sees a renewal.
    """


class Holdback(RouteModel):
    """Sessions that stay on a frozen version, so that what all promotions together are worth can be measured.

    No lease: the anchor was accepted long ago, and a silent daemon is no reason to doubt it.
    """

    id: str
    """Also the salt of the assignment hash: independent of every rollout's."""
    anchor: str
    """Version that serves them; resident on every replica and never denied."""
    share: Annotated[float, Field(gt=0.0, le=0.1)]
    """Probability of being held back (the propensity logged with each exchange)."""


class Route(RouteModel):
    """How one alias is served."""

    deployment: str
    alias: str
    control: str | None
    """Version that serves everything outside the split; None: the base under its own served name."""
    split: Split | None = None
    holdback: Holdback | None = None
    """Drawn before the split: its sessions meet no candidate."""
    stands_in_for: str | None = None
    """Version that should be control and that no replica had when this was written."""

    @property
    def wanted(self) -> str | None:
        """Version that should serve everything outside the split, whether or not it does now."""
        return self.control if self.stands_in_for is None else self.stands_in_for

    @model_serializer(mode="wrap")
    def _without_absent(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """No word of what is not there: gateways that are older than a field refuse what they do not know."""
        made: dict[str, Any] = inner(self)
        for name in ("holdback", "stands_in_for"):
            if made.get(name) is None:
                made.pop(name, None)
        return made


class RouteFile(RouteModel):
    """The whole file. Readers refuse a lower epoch than the one they hold."""

    schema_version: int = ROUTE_SCHEMA
    epoch: int
    """Fencing epoch: raised at every change of what is served, not at lease renewals."""
    actor: str
    reason: str
    written_at: float
    routes: tuple[Route, ...] = ()

    def route(self, alias: str) -> Route | None:
        """The route of an alias, or None."""
        for route in self.routes:
            if route.alias == alias:
                return route
        return None
