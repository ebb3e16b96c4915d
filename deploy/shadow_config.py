"""What a shadow may spend: mirrored requests of a rollout beside traffic that nobody's reply depends on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ShadowConfig(BaseModel):
    """Recorded requests of the champion whose right answer a user has told, sent again to the candidate. Its replies
    are compared and thrown away. Sound only where replies are short and have one right wording (docs/decisions.md).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the champion's judged exchanges that may be mirrored; 0: no shadow. Off, because it takes a tenth
    of the way back's alpha and needs replies of one wording, which the operator knows and we do not."""
    max_per_minute: Annotated[int, Field(ge=2, le=6000)] = 60
    """Mirrored requests a minute, at most: one a second is lost in the load of a server worth a canary."""
    max_total: Annotated[int, Field(ge=2, le=20_000)] = 2000
    """Mirrored requests a rollout, at most; a loss of five points is found by then or not at all."""
    enough: Annotated[int, Field(ge=2, le=20_000)] = 200
    """Scored replies after which a proved candidate waits no longer: a loss of 20 points is found in about as many."""
    wait_s: Annotated[float, Field(ge=0)] = 600.0
    """Seconds that a proved candidate waits for them at most, before users meet it."""

    @property
    def on(self) -> bool:
        """Whether there is a shadow."""
        return self.share > 0.0
