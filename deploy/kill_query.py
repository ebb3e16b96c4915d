"""A user's own PromQL as a kill switch: what one look says, how many count, what follows. Pure; outside alpha.

As in an alert rule of Prometheus, a limit must be passed at several looks in a row. Missing data is no evidence: it
begins the count again, never rolls back and never promotes; ``on_missing: hold`` also keeps the share where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

USER_QUERY: Final = "user_query"
"""Reason of a rollback that a query of the user asked for."""
HOLD_REASONS: Final = ("user_query_beyond", "query_not_answered")
"""Why no share is raised: the newest look at a query is beyond its limit, or there is no answer."""
MISSING: Final = (
    "not_asked",
    "unreachable",
    "timeout",
    "refused",
    "no_series",
    "not_finite",
    "not_a_number",
    "too_long",
)
"""Why a look has no value."""
MOST_QUERIES: Final = 8
SHOWN: Final = 160
"""Characters of a query that the ledger keeps; the whole of it lies in the rollout's config."""
STALE_LOOKS: Final = 4
"""Looks that may be overdue before the last answer counts as none."""


class KillQuery(BaseModel):
    """One query with its limit. It is asked as an instant query; of several series the worst counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    """Name in the ledger, in metrics and in the status."""
    query: Annotated[str, Field(min_length=1, max_length=2000)]
    """PromQL that gives numbers: a scalar or an instant vector. NaN and infinity (a division by no traffic) are no
    data."""
    above: float | None = None
    """The rollout goes back when the worst series is above this..."""
    below: float | None = None
    """...or below this; exactly one of the two is given."""
    looks: Annotated[int, Field(ge=1, le=100, validation_alias=AliasChoices("for", "looks"))] = 3
    """`for`: looks in a row beyond the limit that it takes; one may be a scrape gone wrong. A look without an answer
    begins the count again."""
    on_missing: Literal["inform", "hold"] = "inform"
    """When Prometheus does not answer, or gives no number. inform: it is told in the status; hold: and the share is not
    raised. Neither rolls back nor promotes."""

    @model_validator(mode="after")
    def _one_limit(self) -> KillQuery:
        limit = [x for x in (self.above, self.below) if x is not None]
        if len(limit) != 1 or not math.isfinite(limit[0]):
            raise ValueError(f"exactly one of `above` and `below`, a finite number, for the query {self.name}")
        return self

    @property
    def threshold(self) -> float:
        """The limit."""
        return self.above if self.above is not None else self.below if self.below is not None else math.nan

    @property
    def relation(self) -> Literal["above", "below"]:
        """On which side of the limit harm lies."""
        return "above" if self.above is not None else "below"

    def beyond(self, value: float) -> bool:
        """Whether a value is beyond the limit."""
        return value > self.threshold if self.above is not None else value < self.threshold


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus said: one number a series, or why there is none (of ``MISSING``), with its words."""

    values: tuple[float, ...] = ()
    missing: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class QueryState:
    """What is remembered of one query. JSON-able by ``to_dict``."""

    beyond: int = 0
    """Looks in a row beyond the limit."""
    value: float | None = None
    """Worst series of the newest look; None where it had no number."""
    missing: str = "not_asked"
    """Why the newest look has no number; empty where it has one."""
    at: float | None = None
    """When that was, wall-clock seconds."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; ``from_dict`` restores it bit for bit."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> QueryState:
        """Inverse of ``to_dict``."""
        return cls(**{name: stored[name] for name in cls.__slots__})


def after_look(state: QueryState, query: KillQuery, answer: Answer, at: float) -> QueryState:
    """The state after one more look."""
    finite = [v for v in answer.values if math.isfinite(v)]
    if answer.missing or not finite:
        missing = answer.missing or ("not_finite" if answer.values else "no_series")
        return QueryState(0, None, missing, at)
    worst = max(finite) if query.above is not None else min(finite)
    return replace(state, beyond=state.beyond + 1 if query.beyond(worst) else 0, value=worst, missing="", at=at)


@dataclass(frozen=True, slots=True)
class UserQueries:
    """What all queries together say now."""

    fires: str = ""
    """Name of the query that sends the candidate back; empty while none does."""
    holds: str = ""
    """Why no share is raised (of ``HOLD_REASONS``); empty while it may be."""
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Of the query that fires, for the ledger: name, PromQL, value, threshold, looks and time."""


QUIET: Final = UserQueries()
"""No query says anything."""


def decide(
    queries: Sequence[KillQuery], states: Mapping[str, QueryState], *, live: bool, now: float, fresh_s: float
) -> UserQueries:
    """What follows from the newest looks; ``live``: the candidate meets users.

    Before that nothing can be its fault: a query beyond its limit only keeps the canary from beginning. One look beyond
    it is enough to raise no share. An answer older than ``fresh_s`` seconds is none.
    """
    holds: set[str] = set()
    for query in queries:
        state = states.get(query.name, QueryState())
        if live and state.beyond >= query.looks:
            return UserQueries(query.name, "", _facts(query, state))
        if state.beyond:
            holds.add(HOLD_REASONS[0])
        answered = not state.missing and state.at is not None and now - state.at <= fresh_s
        if not answered and query.on_missing == "hold":
            holds.add(HOLD_REASONS[1])
    return UserQueries("", next((reason for reason in HOLD_REASONS if reason in holds), ""))


def _facts(query: KillQuery, state: QueryState) -> dict[str, Any]:
    return {
        "query": query.name,
        "expr": " ".join(query.query.split())[:SHOWN],
        "relation": query.relation,
        "value": state.value,
        "threshold": query.threshold,
        "looks": state.beyond,
        "looked_at": state.at,
    }
