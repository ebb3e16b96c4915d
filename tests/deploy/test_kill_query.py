"""A user's own PromQL as a kill switch: what each answer of Prometheus says, how many looks count, what follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from pydantic import ValidationError

from deploy.kill_query import MISSING, Answer, KillQuery, QueryState, UserQueries, after_look, decide
from deploy.prometheus_api import LARGEST, Prometheus, read_answer
from deploy.rollout import RolloutConfig

SLOW = KillQuery(name="slow", query="p99\n  > 0", above=2.0)
GOOD = KillQuery(name="good", query="ratio", below=0.9, looks=1, on_missing="hold")


def looked(query: KillQuery, *answers: Answer) -> QueryState:
    """The state after these answers, one a second from second 1 on."""
    state = QueryState()
    for at, answer in enumerate(answers, start=1):
        state = after_look(state, query, answer, float(at))
    return state


def said(query: KillQuery, state: QueryState, *, live: bool = True, now: float = 5.0) -> UserQueries:
    return decide([query], {query.name: state}, live=live, now=now, fresh_s=60.0)


BEYOND, WITHIN = Answer((3.0,)), Answer((1.0,))


def test_it_fires_after_so_many_looks_in_a_row_and_the_ledger_gets_the_numbers() -> None:
    assert said(SLOW, looked(SLOW, BEYOND, BEYOND)) == UserQueries(holds="user_query_beyond")
    found = said(SLOW, looked(SLOW, BEYOND, WITHIN, BEYOND, BEYOND, BEYOND))
    assert (found.fires, found.holds) == ("slow", "")
    assert found.facts == {
        "query": "slow", "expr": "p99 > 0", "relation": "above", "value": 3.0, "threshold": 2.0, "looks": 3,
        "looked_at": 5.0,
    }  # fmt: skip


def test_a_look_within_the_limit_or_without_an_answer_begins_the_count_again() -> None:
    for between in (WITHIN, Answer(missing="timeout"), Answer(), Answer((math.nan,)), Answer((2.0,))):
        assert looked(SLOW, BEYOND, BEYOND, between, BEYOND).beyond == 1


@pytest.mark.parametrize(
    ("values", "worst", "missing"),
    [
        ((1.0, 7.0, 3.0), 7.0, ""),
        ((math.nan, 1.0), 1.0, ""),
        ((math.inf, 1.0), 1.0, ""),
        ((math.nan, math.nan), None, "not_finite"),
        ((math.inf,), None, "not_finite"),
        ((), None, "no_series"),
    ],
)
def test_of_several_series_the_worst_counts_and_what_is_not_finite_is_no_data(
    values: tuple[float, ...], worst: float | None, missing: str
) -> None:
    state = looked(SLOW, Answer(values))
    assert (state.value, state.missing) == (worst, missing)
    assert missing in ("", *MISSING)


def test_below_takes_the_lowest_series() -> None:
    assert looked(GOOD, Answer((0.95, 0.4, 1.0))).value == 0.4
    assert said(GOOD, looked(GOOD, Answer((0.95, 0.4)))).fires == "good"
    assert said(GOOD, looked(GOOD, Answer((0.9,)))) == UserQueries()


def test_missing_data_never_goes_back_and_holds_only_where_the_user_says_so() -> None:
    for missing in MISSING:
        many = [Answer(missing=missing)] * 10
        assert said(SLOW, looked(SLOW, *many)) == UserQueries()
        assert said(GOOD, looked(GOOD, *many)) == UserQueries(holds="query_not_answered")
    assert said(GOOD, QueryState()).holds == "query_not_answered", "nothing was asked yet"
    assert said(GOOD, looked(GOOD, Answer((1.0,))), now=100.0).holds == "query_not_answered", "its answer is old"


def test_before_the_candidate_meets_users_a_query_only_keeps_the_canary_from_beginning() -> None:
    state = looked(SLOW, BEYOND, BEYOND, BEYOND)
    assert said(SLOW, state, live=False) == UserQueries(holds="user_query_beyond")


def test_one_query_that_fires_wins_over_another_that_does_not_answer() -> None:
    states = {"good": QueryState(), "slow": looked(SLOW, BEYOND, BEYOND, BEYOND)}
    assert decide([GOOD, SLOW], states, live=True, now=5.0, fresh_s=60.0).fires == "slow"


def test_the_state_is_restored_bit_for_bit() -> None:
    for state in (QueryState(), looked(SLOW, BEYOND, Answer((2.000000000000001,))), looked(GOOD, Answer())):
        assert QueryState.from_dict(state.to_dict()) == state


def answer(kind: str, result: Any) -> bytes:
    return orjson.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, answer("vector", [{"value": [1.0, "0.5"]}, {"value": [1.0, "2"]}]), (0.5, 2)),
        (200, answer("scalar", [1.0, "4.5"]), (4.5,)),
        (200, answer("vector", []), ()),
    ],
)
def test_answers_with_numbers(status: int, body: bytes, expected: tuple[float, ...]) -> None:
    assert read_answer(status, body) == Answer(expected)


@pytest.mark.parametrize(
    ("status", "body", "missing", "words"),
    [
        (200, answer("string", [1.0, "five"]), "not_a_number", "a string, where a scalar or an instant vector"),
        (200, answer("matrix", [{"values": ["1"]}]), "not_a_number", "a matrix"),
        (200, answer("vector", [{"value": [1.0, "five"]}]), "unreachable", "cannot be read"),
        (200, b"<html>", "unreachable", "not an answer of Prometheus"),
        (200, b'{"status": "success"}', "unreachable", "cannot be read"),
        (200, b'{"status": "success", "data": {"resultType": null, "result": []}}', "unreachable", "cannot be read"),
        (
            400,
            b'{"status":"error","errorType":"bad_data","error":"invalid parameter: 1:5: parse error"}',
            "refused",
            "HTTP 400: invalid parameter: 1:5: parse error",
        ),
        (
            422,
            b'{"status":"error","errorType":"execution","error":"many-to-many"}',
            "refused",
            "HTTP 422: many-to-many",
        ),
        (404, b"404 page not found", "unreachable", "HTTP 404: not an answer of Prometheus"),
        (302, b"", "unreachable", "HTTP 302"),
        (302, answer("scalar", [1.0, "1"]), "unreachable", "HTTP 302"),
        (403, b'{"status":"error","error":"who are you?"}', "unreachable", "HTTP 403: who are you?"),
        (400, b'{"errorType":"bad_data","error":"no status"}', "unreachable", "HTTP 400: no status"),
        (429, b"{}", "unreachable", "HTTP 429"),
        (503, b'{"status":"error","error":"query timed out"}', "unreachable", "HTTP 503: query timed out"),
    ],
)
def test_answers_without_say_why(status: int, body: bytes, missing: str, words: str) -> None:
    found = read_answer(status, body)
    assert (found.values, found.missing) == ((), missing)
    assert words in found.message


def asked(handler: Callable[[httpx.Request], httpx.Response], monotonic: Callable[[], float] = lambda: 0.0) -> Answer:
    transport = httpx.MockTransport(handler)
    return Prometheus("http://prometheus:9090/under/", transport=transport, monotonic=monotonic).ask("up == 1")


def test_what_goes_wrong_on_the_way_is_an_answer_with_a_name() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow", request=request)

    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    def huge(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"x" * (LARGEST + 1))

    def dripping(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"{}")

    assert asked(slow).missing == "timeout"
    assert asked(down).missing == "unreachable"
    assert asked(huge).missing == "too_long"
    ticks = iter([0.0, 99.0])
    assert asked(dripping, lambda: next(ticks)).missing == "timeout"


def test_a_query_is_posted_to_the_urls_own_prefix_with_a_time_limit() -> None:
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=answer("scalar", [1.0, "1"]))

    assert asked(note) == Answer((1.0,))
    assert (seen[0].method, seen[0].url.path) == ("POST", "/under/api/v1/query")
    assert seen[0].content == b"query=up+%3D%3D+1&timeout=5s"


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([{"name": "a", "query": "x"}], "exactly one of `above` and `below`"),
        ([{"name": "a", "query": "x", "above": 1, "below": 0}], "exactly one of"),
        ([{"name": "a", "query": "x", "above": float("nan")}], "a finite number"),
        ([{"name": "a", "query": "x", "above": 1}] * 2, "different names, got a, a"),
        ([{"name": f"a{n}", "query": "x", "above": 1} for n in range(9)], "at most 8"),
        ([{"name": "A b", "query": "x", "above": 1}], "pattern"),
    ],
)
def test_mistakes_in_the_config_are_named(queries: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RolloutConfig.model_validate({"prometheus_url": "http://p:9090", "kill_queries": queries})


def test_queries_need_a_server_and_a_frozen_config_comes_back_as_it_was() -> None:
    given = {"kill_queries": [{"name": "a", "query": "x", "above": 1, "for": 5, "on_missing": "hold"}]}
    with pytest.raises(ValidationError, match="prometheus_url beside kill_queries"):
        RolloutConfig.model_validate(given)
    config = RolloutConfig.model_validate(given | {"prometheus_url": "http://p:9090"})
    assert config.kill_queries[0].looks == 5
    assert RolloutConfig.model_validate(config.model_dump(mode="json")) == config
