"""Settings of the watch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from monitors.encoders import HASHED, PATTERN


class WatchConfig(BaseModel):
    """When the monitors speak. Counts are events (exchanges that the identity cap let through)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference_size: Annotated[int, Field(ge=100, le=20_000)] = 1500
    """Prompts of quiet traffic that everything is compared with: fewer blind the detectors, more delay the start."""
    reference_span_s: Annotated[float, Field(ge=0.0, le=28 * 86400.0)] = 0.0
    """Seconds that the reference must cover at least, thinned to ``reference_size``: an hour that it has not seen looks
    like drift. 86,400, a day, keeps a daily cycle from raising alarms; 604,800, a week, with a larger
    ``reference_size``, does so for weekends too: levels of rewards, corrections and errors follow the hour of the day,
    then that of the week. So long nothing is watched: levels are learned over the same span, and after a promotion the
    reference of prompts anew. 0, the default, takes what came first: traffic that is shown for minutes or replayed must
    be watched at once. ``homeostat init`` writes a day, and the daemon says so while a reference covers less."""
    events_between_false_alarms: Annotated[float, Field(ge=1_000)] = 50_000
    """The deployment's one budget: mean events between confirmed alarms without drift, over all primary detectors."""
    events_between_suspicions: Annotated[float, Field(ge=500)] = 2_000
    """Mean events between unconfirmed suspicions, both input detectors together: a look at one costs 25 to 150 ms."""
    confirm_level: Annotated[float, Field(gt=0.0, le=0.05)] = 0.01
    """Largest p-value that confirms; made smaller where the budget needs it."""
    confirm_before: Annotated[int, Field(ge=40)] = 120
    """Events before the suspicion that the confirming classifier learns from."""
    confirm_sizes: tuple[int, ...] = (16, 40, 80, 240)
    """Events after a suspicion at which the confirmation is tried on what came since the last look. The looks share the
    level; a strong drift is confirmed at the first, one of a tenth of the traffic at the second to the last."""
    slice_events: Annotated[int, Field(ge=16)] = 144
    """Most events after a suspicion that a confirmed alarm waits for, so that its slice has prompts to learn from."""
    slice_strange: Annotated[int, Field(ge=1)] = 28
    """Strange prompts, above the usual share of them, with which it waits no longer."""
    recent_size: Annotated[int, Field(ge=500, le=20_000)] = 2000
    """Newest prompts that are kept, for slices and for the next reference."""
    encoder: Annotated[str, Field(pattern=PATTERN)] = HASHED
    """What prompts are turned into for the chart of their mean: ``hashed`` n-grams, which need nothing, or
    ``sentence-transformers:PATH``, a model in a folder, which needs the extra homeostat[encoder] and costs milliseconds
    of CPU an exchange. Another encoder makes the newest prompts the reference."""
    identity_cap: Annotated[int, Field(ge=1)] = 3
    """Events of one identity that count within ``identity_window``."""
    identity_window: Annotated[int, Field(ge=10)] = 300
    """Exchanges over which the identity cap counts."""
    realarm_events: Annotated[int, Field(ge=1000)] = 10_000
    """Events after a confirmed input alarm at which the watch begins to look again, if nothing has re-referenced it."""
    reward_reference: Annotated[int, Field(ge=50)] = 300
    """Rewards that the usual level is first estimated from, and the watch begins with."""
    reward_known: Annotated[int, Field(ge=0)] = 2000
    """Rewards until which that level goes on being learned, from those that nothing speaks for a change in; where it
    follows the hours, until they cover a week at least. Then it stands still: one that always followed would follow a
    slow decline, too. 0 keeps the first estimate."""
    reward_errors: Annotated[float, Field(ge=0.0)] = 1.5
    """Standard errors by which that level is moved away from an alarm, since it is an estimate. With 1 a fall of 10
    points is told a sixth sooner, and false alarms come three times as often, still as seldom as the budget says."""
    reward_clumping: Annotated[float, Field(ge=1.0)] = 1.5
    """Design effect of rewards: those of one session are alike."""

    @field_validator("confirm_sizes")
    @classmethod
    def _rising(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or sizes[0] < 16 or list(sizes) != sorted(set(sizes)) or len(sizes) > 5:
            raise ValueError(f"expected 1 to 5 rising sizes from 16 on, got {sizes}: as in [20, 40, 80]")
        return sizes

    @property
    def confirm_alpha(self) -> float:
        """p-value that keeps the input detectors within half of the budget; the rewards have the other half."""
        return min(self.confirm_level, self.events_between_suspicions / (2.0 * self.events_between_false_alarms))
