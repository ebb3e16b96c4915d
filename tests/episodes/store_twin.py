"""The store in memory: the row functions of ``daemon.store`` over dictionaries, so that an episode costs milliseconds.

One writer, no isolation: what runs here runs in one thread. A transaction keeps an undo list, so what fails inside it
never happened. ``test_twin`` runs the same seeds on this store and on SQLite and compares everything they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any, Final

from daemon import store
from daemon.store import alarms as alarm_rows
from daemon.store import buffers as buffer_rows
from daemon.store import counters as counter_rows
from daemon.store import cycles as cycle_rows
from daemon.store import dead_letters as letter_rows
from daemon.store import denials as denial_rows
from daemon.store import exchanges as exchange_rows
from daemon.store import feedback as feedback_rows
from daemon.store import fences as fence_rows
from daemon.store import intents as intent_rows
from daemon.store import jobs as job_rows
from daemon.store import ledger as ledger_rows
from daemon.store import offsets as offset_rows
from daemon.store import proofs as proof_rows
from daemon.store import rollouts as rollout_rows
from daemon.store import sessions as session_rows
from daemon.store import states as state_rows
from daemon.store import suspended as suspended_rows
from daemon.store import units as unit_rows
from daemon.store import versions as version_rows
from tests.episodes import twin_decisions, twin_events, twin_versions
from tests.episodes.twin_tables import Tables, TwinTx


class _Begin:
    __slots__ = ("_store", "_tx")

    def __init__(self, twin: StoreTwin) -> None:
        self._store = twin
        self._tx = TwinTx(twin.tables)

    def __enter__(self) -> TwinTx:
        assert not self._store.writing, "a second writer inside a transaction would wait for ever"
        self._store.before_begin()
        self._store.writing = True
        return self._tx

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.writing = False
        try:
            if kind is None:
                self._store.before_commit()
        except BaseException:
            self._tx.take_back()
            raise
        if kind is not None:
            self._tx.take_back()
            return
        if self._tx.undo:
            self._store.commits += 1
        self._store.after_commit()


class _Look:
    """A look changes nothing, so that all looks are one."""

    __slots__ = ("_tx",)

    def __init__(self, tables: Tables) -> None:
        self._tx = TwinTx(tables)

    def __enter__(self) -> TwinTx:
        return self._tx

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


class StoreTwin:
    """Has ``begin`` and ``read`` of ``daemon.store.Store``. The hooks are where an episode makes it fail."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.writing = False
        self.commits = 0
        nothing: Callable[[], None] = lambda: None  # noqa: E731
        self.before_begin = self.before_commit = self.after_commit = nothing
        self._look = _Look(self.tables)

    def begin(self) -> _Begin:
        """The writer's transaction."""
        return _Begin(self)

    def read(self) -> _Look:
        """What is committed now."""
        return self._look


MODULES: Final[Mapping[str, ModuleType]] = {
    "offsets": offset_rows,
    "letters": letter_rows,
    "counters": counter_rows,
    "exchanges": exchange_rows,
    "feedback": feedback_rows,
    "sessions": session_rows,
    "states": state_rows,
    "units": unit_rows,
    "ledger": ledger_rows,
    "alarms": alarm_rows,
    "cycles": cycle_rows,
    "rollouts": rollout_rows,
    "fences": fence_rows,
    "intents": intent_rows,
    "versions": version_rows,
    "proofs": proof_rows,
    "denials": denial_rows,
    "suspended": suspended_rows,
    "buffers": buffer_rows,
    "jobs": job_rows,
}
"""Prefix of a row function to the module whose functions it stands for."""
ROWS: Final[Mapping[str, object]] = {**vars(twin_events), **vars(twin_decisions), **vars(twin_versions)}
"""Prefix and name to the function over the tables in memory."""


@contextmanager
def twin_rows() -> Generator[None]:
    """Within, the row functions of ``daemon.store`` work on a ``StoreTwin`` and on nothing else.

    A function of those modules without a twin raises, rather than to touch a table that is not there.
    """
    kept: list[tuple[ModuleType, str, object]] = []
    for prefix, module in MODULES.items():
        for name, function in list(vars(module).items()):
            if (
                name.startswith("_")
                or getattr(function, "__module__", "") != module.__name__
                or isinstance(function, type)
            ):
                continue
            if callable(function):
                kept.append((module, name, function))
                setattr(module, name, ROWS.get(f"{prefix}_{name}", _missing(prefix, name)))
    try:
        yield
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


def _missing(prefix: str, name: str) -> Callable[..., Any]:
    def refuse(*_args: object, **_more: object) -> Any:
        raise NotImplementedError(f"{store.__name__}.{prefix}.{name} has no twin")

    return refuse
