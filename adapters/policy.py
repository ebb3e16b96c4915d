"""What may be learnt from: the policy of selection, every number with its unit, default and reason."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SelectionPolicy(BaseModel):
    """Caps, agreement, balance, replay and hold-outs of one deployment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False switches selection off: all feedback as it came, no replay. For drills: a gate must survive it."""
    min_new: Annotated[int, Field(ge=1)] = 100
    """Selected examples below which no training starts. 100: with fewer a new desk stays below two answers in three."""

    token_weight: Share = 1.0
    """Training weight of a claim whose feedback carried a token minted with the reply. 1: the strongest proof."""
    producer_weight: Share = 1.0
    """Training weight of a claim from an authenticated backend. 1: its sender is known."""
    bare_weight: Share = 0.0
    """Training weight of a claim that only named an exchange id. 0: anybody could have sent it, so it is left out."""

    identity_age: Annotated[int, Field(ge=0)] = 3
    """Exchanges that an identity must have made before its claims count. 3: throw-away identities cost something."""
    identity_cap: Annotated[int, Field(ge=1)] = 5
    """Claims of one identity at most. 5: one user must not be able to teach alone."""
    identity_share: Share = 0.01
    """The same as a share of all claims; the smaller of the two holds. 1 %: small buffers need a smaller cap."""
    identity_floor: Annotated[int, Field(ge=1)] = 3
    """The cap never falls below it. 3: what one identity may count for in a hold-out and in a rollout."""

    duplicate_cosine: Share = 0.95
    """Cosine of two prompts from which they are near duplicates. 0.95: a typo or a comma apart."""
    cluster_share: Share = 0.02
    """Share of the buffer that one cluster of near duplicates may take. 2 %: a script repeats itself, people do not."""
    cluster_floor: Annotated[int, Field(ge=1)] = 5
    """A cluster may always have so many. 5: 2 % of a small buffer would be nobody."""

    agreement_neighbours: Annotated[int, Field(ge=1, le=50)] = 10
    """Nearest claims of other identities that are asked. 10: measured on 15 desks of real text with 150 to 1,000
    claims, keeps two points more right claims than 5 at the same number of wrong ones."""
    agreement_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 1 / 3
    """Weight of those who agree, as a share of the strongest other claim's. 1/3: keeps 94-97 % of right claims and
    leaves about 1 % wrong of 10; 0 needs only one that agrees and leaves 2-4 %."""
    agreement_support: Annotated[int, Field(ge=1)] = 1
    """Other identities that must agree. 1: more costs a tenth of the right claims; the ratio guards the rest."""

    class_ratio: Annotated[float, Field(ge=1.0)] = 3.0
    """Examples of one target text at most, as a multiple of the median example's. 3: a flood is cut, the natural
    difference between frequent and rare wishes stays."""
    class_floor: Annotated[int, Field(ge=1)] = 20
    """A target may always have so many examples. 20: small buffers have no median to speak of."""

    replay_per_new: Annotated[float, Field(ge=0.0)] = 4.0
    """Replayed exchanges per new example. 4: keeps the old desks within a point; without replay they are lost."""
    replay_min: Annotated[int, Field(ge=0)] = 2000
    """Replayed exchanges wanted even when little is new. 2,000: variety is what protects, and it costs no step more."""
    replay_max: Annotated[int, Field(ge=0)] = 4000
    """Replayed exchanges at most. 4,000: more is read from disk than training ever draws."""
    replay_identity_cap: Annotated[int, Field(ge=1)] = 10
    """Replayed exchanges of one identity at most. 10: heavy users must not stand for everybody."""
    doubt_share: Share = 0.3
    """An unconfirmed reply is neither replayed nor expected when this share of the ten nearest exchanges of others
    belongs to the drifted slice or was corrected. 0.3: what the slice model missed would be taught as right."""

    holdout_share: Share = 0.4
    """Share of the identities, drawn by a hash that never changes, whose exchanges only measure. 0.4: at three
    exchanges an identity, a thousand identities give a thousand old questions."""
    holdout_identity_cap: Annotated[int, Field(ge=1)] = 3
    """Questions of one identity in each hold-out. 3: as in a rollout."""
    holdout_old_max: Annotated[int, Field(ge=0)] = 1500
    """Old questions at most; each is generated once in a gate. 1,500: the bound hardly tightens after that."""
    holdout_new_max: Annotated[int, Field(ge=0)] = 600
    """New questions at most, the newest ones."""
