"""What a stage is. Stages are pure: the same claims, policy and seed give the same outcomes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from adapters.examples import Example
from adapters.policy import SelectionPolicy


class Reason(StrEnum):
    """Why an exchange is in a buffer or not. Bounded: it labels a counter."""

    SELECTED = "selected"
    SELECTION_OFF = "selection_off"
    WRONG_TENANT = "wrong_tenant"
    EXCLUDED = "excluded"
    EMPTY = "empty"
    REPEATED_ID = "repeated_id"
    NO_TRUST = "no_trust"
    NEW_IDENTITY = "new_identity"
    NEAR_DUPLICATE = "near_duplicate"
    IDENTITY_CAP = "identity_cap"
    NO_AGREEMENT = "no_agreement"
    CLUSTER_CAP = "cluster_cap"
    CLASS_CAP = "class_cap"
    IN_HOLDOUT = "in_holdout"
    CONTRADICTED = "contradicted"
    IN_SLICE_UNLABELLED = "in_slice_unlabelled"
    OTHER_VERSION = "other_version"
    DOUBTFUL = "doubtful"
    REPLAY_FULL = "replay_full"
    HOLDOUT_FULL = "holdout_full"
    NOT_DEMONSTRATED = "not_demonstrated"
    SEVERAL_TURNS = "several_turns"
    SHAPED = "shaped"
    REDACTED = "redacted"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Kept:
    """The claim stays; its weight may have changed."""

    example: Example


@dataclass(frozen=True, slots=True)
class Dropped:
    """The claim is out, for this reason."""

    example: Example
    reason: Reason


Outcome = Kept | Dropped


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage may know besides the claims."""

    policy: SelectionPolicy
    seed: int
    identity_exchanges: dict[str, int]
    """Exchanges known of each identity."""
    sliced: bool = True
    """False when nothing tells new traffic from old: then agreed corrections alone are what is new."""
    own: frozenset[str] | None = None
    """Versions that answer as the champion does (itself; the base, its names and the identity); None: all do."""

    def is_own(self, example: Example) -> bool:
        """Whether the recorded reply is the champion's: what another version said is nothing it must keep."""
        return self.own is None or example.version in self.own

    def is_new(self, example: Example) -> bool:
        """Whether a believed claim belongs to what has changed."""
        return example.in_slice if self.sliced else example.target_kind == "correction"


class Stage(Protocol):
    """One idea of what makes a claim fit to learn from."""

    @property
    def name(self) -> str:
        """Named in the decisions and in the counter."""
        ...

    def apply(self, claims: Sequence[Example], context: Context) -> list[Outcome]:
        """One outcome per claim, in the same order."""
        ...


def lot(seed: int, purpose: str, key: str) -> float:
    """A number in [0, 1) that seed, purpose and key decide alone: draws without a generator's state."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def keep_first(
    claims: Sequence[Example], order: Sequence[int], groups: Sequence[object], cap: int, reason: Reason
) -> list[Outcome]:
    """Keep the first `cap` claims of each group, taken in `order` (positions in `claims`)."""
    taken: dict[object, int] = {}
    outcomes: list[Outcome] = [Kept(c) for c in claims]
    for i in order:
        taken[groups[i]] = taken.get(groups[i], 0) + 1
        if taken[groups[i]] > cap:
            outcomes[i] = Dropped(claims[i], reason)
    return outcomes


def newest_first(claims: Sequence[Example]) -> list[int]:
    """Positions from the newest claim to the oldest."""
    return sorted(range(len(claims)), key=lambda i: (-claims[i].at, claims[i].exchange_id))
