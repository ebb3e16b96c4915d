"""The monitors' watch and its rows: what it remembers is written in parts, few of which change in a batch.

Whoever changes it holds the ingest's lock. Inside a batch memory runs ahead of the store, and is restored from its rows
where the transaction fails; a ``rebase`` or ``rate`` that fails is asked for again by the next tick.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Protocol

from daemon.store import states
from daemon.store.open import Read, Store, Tx
from monitors.alarms import Alarm, SliceModel
from monitors.coverage import Coverage
from streams.events import Exchange

PART: Final = "watch:"
"""Prefix of the watch's parts among the states."""

REBASED: Final = "rebased_for"
"""The rollout whose promotion the watch last took as the new normal."""

RATED: Final = "rewards_of"
"""The version whose rewards are the usual ones."""


class Watching(Protocol):
    """What the ingest needs of the monitors."""

    def observe_exchange(self, exchange: Exchange) -> list[Alarm]:
        """Findings after one more exchange."""
        ...

    def observe_reward(
        self, exchange: Exchange, reward: float, sent_at: float | None = None, corrected: bool = False
    ) -> list[Alarm]:
        """Findings after one more reward; ``corrected``: somebody wrote the right answer beside it."""
        ...

    @property
    def coverage(self) -> Coverage:
        """What it compares with by now."""
        ...

    def slice_now(self) -> SliceModel | None:
        """The standing alarm's slice, learned anew from everything since its onset."""
        ...

    def rebase(self, now: float, reason: str) -> None:
        """The then-current traffic becomes the reference."""
        ...

    def relearn_rewards(self) -> None:
        """Another version answers: what is usual for rewards is learned anew, the reference of prompts stays."""
        ...

    def dump_parts(self) -> dict[str, bytes]:
        """State as named parts, restored bit for bit by the factory; few of them change in a batch."""
        ...


MakeWatch = Callable[[dict[str, bytes]], Watching]
"""A watch from its stored parts; none: one that knows nothing. Whatever it raises, the parts are of no use."""


class StoredWatch:
    """``watch`` is what was made last; ``rated`` the version whose rewards it is shown, None for whoever answers."""

    def __init__(self, store: Store, make: MakeWatch) -> None:
        self._store, self._make = store, make
        self.watch = make({})
        self.rated: str | None = None
        self._written: dict[str, bytes] = {}

    def restore(self, read: Read, loaded: Callable[[Callable[[], Watching], Callable[[], Watching]], Watching]) -> None:
        """As the store has it; ``loaded`` is given how to make it of its parts, and how where that fails."""
        self._written = states.with_prefix(read, PART)
        parts = {name.removeprefix(PART): blob for name, blob in self._written.items()}
        self.watch = loaded(lambda: self._make(parts), lambda: self._make({}))
        rated = states.get(read, RATED)
        self.rated = None if rated is None else rated.decode()

    def put(self, tx: Tx, now: float) -> None:
        """Write the parts that changed and drop those that are gone."""
        parts = {PART + name: blob for name, blob in self.watch.dump_parts().items()}
        for name, blob in parts.items():
            if self._written.get(name) != blob:
                states.put(tx, name, blob, now)
        for name in self._written.keys() - parts.keys():
            states.drop(tx, name)
        self._written = parts

    @contextmanager
    def storing(self) -> Generator[Tx]:
        """A transaction outside a batch that stores the watch: where it fails, the store has what it had."""
        before = self._written
        try:
            with self._store.begin() as tx:
                yield tx
        except BaseException:
            self._written = before
            raise

    def rebase(self, now: float, reason: str, cause: str) -> None:
        """What serves now is the new normal. ``cause`` is stored in the same transaction, for ``rebased_for``."""
        with self.storing() as tx:
            self.watch.rebase(now, reason)
            self.put(tx, now)
            states.put(tx, REBASED, cause.encode(), now)

    def rebased_for(self) -> str | None:
        """The cause of the newest ``rebase``; None before the first."""
        with self._store.read() as read:
            found = states.get(read, REBASED)
        return None if found is None else found.decode()

    def rate(self, version: str | None, now: float) -> None:
        """Show it rewards of this version alone; another version than before has its usual level learned anew."""
        with self._store.read() as read:
            before = states.get(read, RATED)
        if version is not None and before != version.encode():
            with self.storing() as tx:
                if before is not None:
                    self.watch.relearn_rewards()
                    self.put(tx, now)
                states.put(tx, RATED, version.encode(), now)
        self.rated = version
