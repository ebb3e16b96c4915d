"""Who serves, and where one can go back to: derived from the promoted stack, the running rollout and the route, kept in
memory for a rollback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from daemon.faults import Refused
from daemon.store import Read, rollouts, versions
from deploy.rollout import LIVE, Phase
from deploy.routes import Route


class Live(NamedTuple):
    """The two versions of a rollout whose candidate may meet users."""

    candidate: str
    control: str | None
    second: bool = False
    """A second probation: the candidate was promoted already."""


class Standing(NamedTuple):
    """The champion, the rollback targets (newest first, identity last), the identity version and the live rollout. A
    tuple: a tick makes three.
    """

    champion: str | None
    """None: the deployment never promoted and serves its base (or the identity)."""
    targets: tuple[str, ...]
    identity: str | None
    live: Live | None = None

    @property
    def previous(self) -> str | None:
        """The version to go back to."""
        return self.targets[0] if self.targets else None

    @property
    def accepted(self) -> str | None:
        """The champion, or the one that a second probation suspects."""
        return self.live.candidate if self.live is not None and self.live.second else self.champion

    def in_trial(self, route: Route | None) -> str | None:
        """The candidate on trial by this route: it has a share, or its share rests while another version stands in for
        its control, or it serves everybody and the rows that say so are still to come. None outside a rollout.
        """
        if route is None:
            return None
        if route.split is not None:
            return route.split.candidate
        live = self.live
        if live is None or live.candidate == self.champion:  # a second probation whose share is still to come
            return None
        return live.candidate if route.wanted in (live.control, live.candidate) else None

    def way_back(
        self,
        serving: str | None,
        to: str | None,
        *,
        in_rollout: bool,
        nearest: Callable[[Sequence[str]], str | None],
    ) -> tuple[str, str | None]:
        """(version to leave, version to serve instead) of a rollback. Raises Refused.

        In a rollout the candidate is left for the control; otherwise the champion for the ``nearest`` of its targets:
        after one rollback the newest may not be loaded yet, and a way back must be there at once.
        """
        if in_rollout and serving is not None:
            control = self.champion or self.identity
            return serving, self._checked(to) if to is not None else control
        if self.champion is None:
            raise Refused(
                "nothing_to_roll_back",
                "nothing to roll back: the base (or the identity version) serves, and there is nothing below it",
            )
        if to == self.champion:
            raise Refused("no_rollback_target", f"{to} is what serves now: name an older version")
        if to is not None:
            return self.champion, self._checked(to)
        return self.champion, nearest(self.targets)

    def leaving(self, left: str, target: str | None, *, named: bool) -> tuple[str, ...]:
        """What a rollback leaves; see ``left_behind``."""
        stack = self.targets if self.champion is None else (self.champion, *self.targets)
        return left_behind(stack, left, target, named=named)

    def _checked(self, to: str) -> str:
        if to not in self.targets and to != self.champion:
            known = ", ".join(self.targets) or "none"
            raise Refused(
                "no_rollback_target",
                f"{to} is no rollback target: expected one of {known} (promoted before, not denied)",
            )
        return to

    def as_routed(self, route: Route | None) -> Standing:
        """The standing where the route says already that an older version serves, though no row was read since."""
        if route is None or route.wanted not in self.targets:
            return self
        return self.gone_back(route.wanted)

    def gone_back(self, target: str | None) -> Standing:
        """The standing after a rollback to ``target``, for when the store cannot be asked."""
        stack = () if self.champion is None else (self.champion, *self.targets)
        if target not in stack or target == self.identity:
            return self._replace(champion=None, targets=(), live=None)
        return self._replace(champion=target, targets=stack[stack.index(target) + 1 :], live=None)


def left_behind(stack: Sequence[str], left: str, target: str | None, *, named: bool) -> tuple[str, ...]:
    """Versions that a rollback leaves for good: what served, and all above a target that a person ``named``.

    Whoever names an older version wants none of the newer ones. A target that was found may lie below versions that
    were not loaded at that instant: nobody left those, and they stay what one can go back to.
    """
    above = stack[: stack.index(target)] if named and target in stack else ()
    return (left, *(version for version in above if version != left))


def standing(read: Read, deployment: str, identity: str | None, route: Route | None) -> Standing:
    """From the rows: the top of the promoted stack is the champion, unless the route says that an older one should
    serve, or the identity.
    """
    stack = [v.version for v in versions.promoted_stack(read, deployment)]
    wanted = None if route is None else route.wanted
    if wanted in stack:
        stack = stack[stack.index(wanted) :]
    elif route is not None and wanted in (None, identity):  # None: the base serves, whatever was promoted
        stack = []
    champion = stack[0] if stack else None
    below = tuple(stack[1:]) + ((identity,) if identity else ())
    row = rollouts.active(read, deployment)
    phase = None if row is None else Phase(row.phase)
    second = phase is Phase.SECOND_PROBATION
    live = Live(row.candidate, row.control, second) if row is not None and phase in LIVE else None
    return Standing(champion, below if champion is not None else (), identity, live)
