"""Which desk the next question is for: the traffic's mix, changed by the scenario while the users go on."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping


class Mix:
    """Shares of traffic by desk. Sessions that have begun keep their desk; new ones follow the newest shares."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._names: list[str] = []
        self._edges: list[float] = []
        self.change(shares)

    def change(self, shares: Mapping[str, float]) -> None:
        """Replace the shares (any positive scale). Raises ValueError when nothing is left to ask about."""
        wanted = {desk: share for desk, share in shares.items() if share > 0.0}
        if not wanted:
            raise ValueError(f"expected at least one desk with a positive share, got {dict(shares)!r}")
        total = sum(wanted.values())
        self._names = list(wanted)
        self._edges = list(itertools.accumulate(share / total for share in wanted.values()))

    def pick(self, rng: random.Random) -> str:
        """A desk, drawn by its share."""
        return self._names[min(bisect.bisect(self._edges, rng.random()), len(self._names) - 1)]

    @property
    def shares(self) -> dict[str, float]:
        """The present shares, summing to one."""
        edges = [0.0, *self._edges]
        return {name: edges[i + 1] - edges[i] for i, name in enumerate(self._names)}


def even(desks: list[str] | tuple[str, ...], total: float = 1.0) -> dict[str, float]:
    """The same share for each desk, ``total`` in all."""
    return {desk: total / len(desks) for desk in desks}
