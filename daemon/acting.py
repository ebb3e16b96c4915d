"""What the policy may do by itself beside learning, from the rows: roll back a promotion, ask for labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from daemon import label_requests
from daemon.config import Config
from daemon.cycle import WORSE, Standing
from daemon.store import Read, denials, rollouts
from deploy.rollout import Phase

DENIED_AS = f"rolled_back:{WORSE}"
"""Reason of the route, and of the denial, of a rollback by the policy."""


@dataclass(frozen=True, slots=True)
class Acting:
    """Facts for ``daemon.cycle.choose``."""

    suspect: str | None
    no_rollback: str
    asked: Mapping[str, str]
    undone: Mapping[str, float]
    """Promoted versions that the policy rolled back, and when: each counts as a rollback for its cause."""

    def into(self, standing: Standing) -> Standing:
        """The standing with these facts."""
        undone_at = max(self.undone.values(), default=None)
        return replace(
            standing, suspect=self.suspect, no_rollback=self.no_rollback, asked=self.asked, undone_at=undone_at
        )


def acting(read: Read, deployment: str, config: Config, champion: str | None) -> Acting:
    """The facts of now. Only what the newest promotion brought is suspected, and only while it serves: a rollback is
    never done twice for one promotion.
    """
    newest = rollouts.newest(read, deployment, 50)
    promoted = next((r.candidate for r in newest if r.phase == Phase.PROMOTED.value), None)
    return Acting(
        suspect=promoted if promoted is not None and promoted == champion else None,
        no_rollback=no_rollback(config),
        asked=label_requests.by_alarm(label_requests.load(read)),
        undone=undone(read, deployment),
    )


def undone(read: Read, deployment: str) -> dict[str, float]:
    """Promoted versions that the policy rolled back, and when."""
    denied = denials.of_deployment(read, deployment)
    return {version: d.at for version, d in denied.items() if d.reason == DENIED_AS}


def no_rollback(config: Config) -> str:
    """Why this config lets the policy roll nothing back; empty where it may."""
    if config.policy.roll_back_after_promotion != "roll_back":
        return "rollback_after_probation_is_a_persons"
    return "" if config.mode in ("canary", "auto") else "rollback_needs_mode_canary_or_auto"
