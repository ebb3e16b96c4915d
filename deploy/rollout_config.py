"""How a candidate meets traffic: the knobs of a rollout, and three presets of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deploy.kill_query import MOST_QUERIES, KillQuery
from deploy.shadow_config import ShadowConfig
from monitors.bets import LEAST_CHANCE

Preset = Literal["strict", "balanced", "fast"]
_Share = Annotated[float, Field(ge=LEAST_CHANCE, le=1.0 - LEAST_CHANCE)]

PRESETS: Final[Mapping[Preset, Mapping[str, object]]] = MappingProxyType(
    {
        # a wrong verdict in a hundred, small losses only, few people at first: takes about twice the units
        "strict": {
            "alpha": 0.01,
            "share_small": 0.05,
            "margin_small": 0.05,
            "margin_half": 0.02,
            "min_units_per_arm": 100,
            "probation_units": 10_000,
        },
        "balanced": {},
        # the same error as balanced: what is paid is exposure, a quarter of sessions at once and larger margins
        "fast": {
            "share_small": 0.25,
            "margin_small": 0.15,
            "margin_half": 0.08,
            "min_units_per_arm": 10,
            "probation_units": 500,
        },
    }
)
"""Preset to the fields in which it differs from the defaults. A field that is given wins."""


SHADOW_SHARE: Final = 0.1
"""Share of alpha that the shadow's own test of harm has while there is a shadow; live traffic's has the rest. Ten
times alpha's e-value costs the shadow three quarters more blocks, the rest costs live traffic one unit in thirty.
"""


class RolloutConfig(BaseModel):
    """How a candidate meets traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "balanced"
    """`strict`, `balanced` or `fast`: values for the fields that are not given (see docs/decisions.md)."""
    share_small: _Share = 0.10
    """Share of sessions in the first step; 10 % bounds who meets a bad candidate."""
    share_half: _Share = 0.50
    """Share in the second step; 50 % decides soonest."""
    share_probation: _Share = 0.95
    """Share of the new version in probation; the rest stays on previous as the yardstick."""
    share_second_probation: _Share = 0.50
    """Share of the champion in a second probation, when it is suspected soon after its promotion. Half decides soonest:
    a loss of 20 points is found after 237 rated units (median; 1,110 at 95 %), one of 10 points after 752."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of a wrong verdict per decision; every threshold is 1/alpha."""
    alpha_promote: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Chance of a wrong promotion, where it is smaller than alpha; None: alpha. The yearly budget lowers it, never
    the way back."""
    wrong_promotions_a_year: Annotated[float, Field(gt=0)] = 1.0
    """Expected wrong promotions in 365 days that all rollouts together may spend: one is about what a yearly review
    of an alpha of 5 % forgives; twenty rollouts at 5 % use it up."""
    margin_small: Annotated[float, Field(gt=0, lt=1)] = 0.10
    """Non-inferiority margin (reward) of the first step."""
    margin_half: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Non-inferiority margin (reward) of the second step."""
    min_units_per_arm: Annotated[int, Field(ge=1)] = 20
    """Matured units an arm before a step may pass; also the units of probation without which its hours end nothing."""
    maturity_s: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds of feedback that belong to a unit (W); thumbs come late."""
    lateness_s: Annotated[float, Field(ge=0)] = 5.0
    """Seconds that events may be out of order before the promote path reads them."""
    lease_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds a share outlives a silent daemon."""
    deadline_s: Annotated[float, Field(gt=0)] = 7 * 86400.0
    """Seconds until a rollout without a verdict ends inconclusive."""
    probation_units: Annotated[int, Field(ge=1)] = 2000
    """Units that end probation without harm."""
    probation_s: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """Seconds that end probation without harm, whichever comes first, once ``min_units_per_arm`` units came in it."""
    identity_cap: Annotated[int, Field(ge=1)] = 3
    """Units one identity may count for; without the cap one loud user decides."""
    first_token_slo_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds to the first token beyond which a reply is slow; None: the 95th percentile before over >= 2,000
    requests."""
    token_slo_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds per output token beyond which a reply is slow; None: the 95th percentile before, as above."""
    kill_errors: Annotated[int, Field(ge=1)] = 20
    """Consecutive 5xx of the candidate that end it at once..."""
    kill_sessions: Annotated[int, Field(ge=1)] = 5
    """...when they come from at least this many sessions."""
    fleet_window: Annotated[int, Field(ge=1, le=400)] = 200
    """Newest exchanges, both arms, that are held against the time before the canary."""
    fleet_errors_factor: Annotated[float, Field(ge=1)] = 3.0
    """Error share that ends a rollout: this many times the one before, plus 5 points for shares that were tiny."""
    fleet_slow_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of replies beyond the latency bounds that ends a rollout; before the canary it was .05 by construction."""
    prometheus_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")] | None = None
    """Prometheus that the kill queries are put to: http://127.0.0.1:9090, with its path prefix where it has one."""
    kill_queries: Annotated[tuple[KillQuery, ...], Field(max_length=MOST_QUERIES)] = ()
    """Your own PromQL as kill switches while a candidate meets users, outside of alpha. Each: `name`, `query`, `above`
    or `below` (the limit), `for` (looks in a row, 3), `on_missing` (`inform`, or `hold`: the share is not raised while
    Prometheus does not answer)."""
    kill_query_every_s: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """Seconds between two looks at the kill queries: Prometheus has nothing newer than its last scrape."""
    soak_requests: Annotated[int, Field(ge=1)] = 16
    """Newest recorded requests, beside five synthetic ones, that a candidate answers on one replica before it is loaded
    on the others."""
    shadow: ShadowConfig = ShadowConfig()
    champion_wait_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds without a replica that has the champion before previous, identity or base serves instead."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        fields = cast("Mapping[str, object]", given)
        return {**PRESETS.get(cast("Preset", fields.get("preset", "balanced")), {}), **fields}

    @model_validator(mode="after")
    def _queries_can_be_asked(self) -> RolloutConfig:
        if self.kill_queries and self.prometheus_url is None:
            raise ValueError("prometheus_url beside kill_queries: the server that they are put to")
        names = [query.name for query in self.kill_queries]
        if len(set(names)) != len(names):
            raise ValueError(f"kill_queries with different names, got {', '.join(names)}")
        return self

    @property
    def second_deadline_s(self) -> float:
        """Seconds until a second probation that too few people rated, or nobody approved, is over: half of the users
        meet an older version meanwhile, and no cycle starts.
        """
        return min(self.deadline_s, 2.0 * self.probation_s)

    @property
    def threshold(self) -> float:
        """E-value at which a decision is made (Ville's inequality)."""
        return 1.0 / self.alpha

    @property
    def promotion_alpha(self) -> float:
        """Chance of a wrong promotion: the smaller of the two alphas."""
        return self.alpha if self.alpha_promote is None else min(self.alpha, self.alpha_promote)

    @property
    def harm_threshold(self) -> float:
        """E-value of the harm evidence on live traffic that ends a rollout: that of alpha less the shadow's share."""
        return 1.0 / ((1.0 - SHADOW_SHARE) * self.alpha) if self.shadow.on else self.threshold

    @property
    def shadow_threshold(self) -> float:
        """E-value of the shadow's harm that ends a rollout before traffic."""
        return 1.0 / (SHADOW_SHARE * self.alpha)

    @property
    def promote_threshold(self) -> float:
        """E-value at which a step passes."""
        return 1.0 / self.promotion_alpha

    @property
    def void_threshold(self) -> float:
        """E-value at which a comparison is void: ten times the threshold. A broken assignment shows in every unit, so
        that this costs little, and all ways back together err hardly more often than harm alone.
        """
        return 10.0 * self.threshold
