"""Looks at the user's own queries while a rollout runs: Prometheus is asked in a thread, the tick takes what is there.

One round of looks at a time; the tick never waits for it. What the looks said lies in the store, so that a restart
goes on counting. A round that began before the candidate met users says nothing about the time after.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from daemon.faults import ConfigError
from daemon.store import Read, Store, rollouts, states
from daemon.troubles import Troubles
from deploy.kill_query import QUIET, STALE_LOOKS, Answer, KillQuery, QueryState, UserQueries, after_look, decide
from deploy.prometheus_api import TIMEOUT_S
from deploy.rollout import LIVE, Phase, RolloutConfig
from monitors.metrics import Metrics

STATE: Final = "kill_queries"
"""Name of the looks among the states: those of the newest rollout."""
START: Final = "start"
"""Key of a round that goes on with the look at the start, before any rollout."""
AGAIN_S: Final = 60.0
"""Seconds between two such rounds."""
Ask = Callable[[str], Answer]
AskAt = Callable[[str | None, str], Answer]
"""Puts a query; the URL is the one that the rollout began with."""
Begin = Callable[[Callable[[], None]], None]
FAULTS: Final = ("refused", "not_a_number")
"""Prometheus' own words about a query that a person must mend; all else is no reason not to start."""


def in_thread(work: Callable[[], None]) -> None:
    """Run it beside the tick."""
    threading.Thread(target=work, name="kill-queries", daemon=True).start()


def check(config: RolloutConfig, ask: Ask) -> tuple[KillQuery, ...]:
    """Put each query once at the start: a mistyped one must be told now, not in the middle of a canary.
    Returns those that were not answered.

    Raises ConfigError with Prometheus' own words. A Prometheus that does not answer is no mistake of the config, nor is
    what stands before it and answers in its place: a daemon that does not start leaves a live canary alone.
    """
    unanswered: list[KillQuery] = []
    for number, query in enumerate(config.kill_queries):
        answer = ask(query.query)
        if answer.missing in FAULTS:
            raise ConfigError(
                f"rollout.kill_queries.{number}.query ({query.name}): Prometheus at rollout.prometheus_url does not "
                f'take it: "{answer.message}": correct the query or the URL'
            )
        if answer.missing in ("timeout", "unreachable"):
            return (*unanswered, *config.kill_queries[number:])
        if answer.missing:
            unanswered.append(query)
    return tuple(unanswered)


class QueryWatch:
    """``look`` is called at every tick, by its one thread."""

    def __init__(
        self,
        store: Store,
        ask: AskAt,
        clock: Callable[[], float],
        metrics: Metrics,
        troubles: Troubles,
        begin: Begin = in_thread,
        unanswered: tuple[KillQuery, ...] = (),
    ) -> None:
        """``unanswered``: of the config, not answered at the start; put again until they are, and told meanwhile."""
        self._store, self._ask, self._clock, self._begin = store, ask, clock, begin
        self._metrics, self._troubles, self._unanswered = metrics, troubles, unanswered
        self._key = ""
        """Rollout and stage that the states belong to."""
        self._states: dict[str, QueryState] = {}
        self._asked_at = float("-inf")
        self._asking = False
        self._done: tuple[str, dict[str, Answer]] | None = None
        self._told: set[str] = set()

    def look(self, row: rollouts.Rollout | None) -> UserQueries:
        """What the queries of the running rollout say now; begins the next round when it is due."""
        config = None if row is None else RolloutConfig.model_validate(row.data["config"])
        if row is None or config is None or not config.kill_queries:
            self._rest(self._clock())
            return QUIET
        now, live = self._clock(), Phase(row.phase) in LIVE
        self._enter(f"{row.id}:{'live' if live else 'before'}")
        self._take(config.kill_queries, now)
        if not self._asking and now - self._asked_at >= config.kill_query_every_s:
            self._asking, self._asked_at = True, now
            key, url, queries = self._key, config.prometheus_url, config.kill_queries
            self._begin(lambda: self._round(key, url, queries))
        fresh_s = STALE_LOOKS * config.kill_query_every_s + len(config.kill_queries) * TIMEOUT_S
        return decide(config.kill_queries, self._states, live=live, now=now, fresh_s=fresh_s)

    def _enter(self, key: str) -> None:
        """Another rollout or stage begins anew; after a restart the stored looks of the same one go on."""
        if key == self._key:
            return
        with self._store.read() as read:
            self._states = stored(read, key)
        self._key, self._asked_at = key, float("-inf")

    def _round(self, key: str, url: str | None, queries: tuple[KillQuery, ...]) -> None:
        """In a thread of its own."""
        try:
            self._done = key, {query.name: self._ask(url, query.query) for query in queries}
        finally:
            self._asking = False

    def _take(self, queries: tuple[KillQuery, ...], now: float) -> None:
        done, self._done = self._done, None
        if done is None or done[0] != self._key:
            return
        for query in queries:
            answer = done[1].get(query.name, Answer(missing="not_asked"))
            state = after_look(self._states.get(query.name, QueryState()), query, answer, now)
            self._states[query.name] = state
            outcome = "missing" if state.missing else "beyond" if state.beyond else "within"
            self._metrics.kill_query_looks.labels(query=query.name, outcome=outcome).inc()
            self._tell(query.name, state, answer)
        blob = {"key": self._key, "queries": {name: s.to_dict() for name, s in self._states.items()}}
        with self._store.begin() as tx:
            states.put(tx, STATE, orjson.dumps(blob), now)

    def _tell(self, name: str, state: QueryState, answer: Answer) -> None:
        where = _place(name)
        if not state.missing:
            self._told.discard(where)
            self._troubles.end(where)
            return
        words = answer.message or "it gave no number that can be compared: look at the query and at what it reads"
        self._told.add(where)
        self._troubles.begin(where, state.missing, f"the kill query {name} says nothing: {words}")

    def _rest(self, now: float) -> None:
        """No rollout waits for an answer: only what was not answered at the start is asked again."""
        done, self._done = self._done, None
        if done is not None and done[0] == START:
            for query in self._unanswered:
                answer = done[1][query.name]
                self._tell(query.name, QueryState(missing=answer.missing, at=now), answer)
            self._unanswered = tuple(q for q in self._unanswered if done[1][q.name].missing)
        over = self._told - {_place(query.name) for query in self._unanswered}
        for where in over:
            self._troubles.end(where)
        self._told -= over
        if self._unanswered and not self._asking and now - self._asked_at >= AGAIN_S:
            self._asking, self._asked_at = True, now
            queries = self._unanswered
            self._begin(lambda: self._round(START, None, queries))


def _place(query: str) -> str:
    return f"query {query}"


def stored(read: Read, key: str) -> dict[str, QueryState]:
    """The looks of a rollout and stage (``<id>:live``, ``<id>:before``); empty where the newest ones are another's."""
    blob = states.get(read, STATE)
    found: Mapping[str, object] = {} if blob is None else orjson.loads(blob)
    if found.get("key") != key:
        return {}
    queries: dict[str, dict[str, object]] = found["queries"]  # pyright: ignore[reportAssignmentType]
    return {name: QueryState.from_dict(one) for name, one in queries.items()}
