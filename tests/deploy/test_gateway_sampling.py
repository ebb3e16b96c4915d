"""What the gateway keeps of how a request asked for its reply to be drawn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.gateway.rewrite import Fields, parse
from deploy.gateway.sampling import sampling_of
from deploy.gateway.transcript import messages_of
from streams.events import Sampling
from tests.deploy.gateway_world import World, route

SAID: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "seed": -3,
    "max_tokens": 64,
}


def sampling(**said: Any) -> Sampling | None:
    return sampling_of(fields(**said), True)


def fields(**said: Any) -> Fields:
    return parse(msgspec.json.encode({"model": "support", "messages": [], **said}))


def test_every_number_is_kept_under_its_own_name() -> None:
    found = sampling(**SAID)
    assert found is not None and found.repeatable
    assert found.numbers == SAID
    assert set(SAID) | {"stops", "shaped"} == set(Sampling.model_fields)


def test_a_request_that_says_nothing_is_drawn_as_the_server_does() -> None:
    assert sampling() == Sampling()
    assert sampling(temperature=None, stop=None, tools=[], seed=None, max_tokens=None, ignore_eos=False) == Sampling()
    told: dict[str, Any] = {
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 2,
        "tool_choice": "none",
    }
    assert sampling(**told, logprobs=True, top_logprobs=3, metadata={"session_id": "s"}) == Sampling()


def test_the_newer_name_of_the_limit_goes_first() -> None:
    assert sampling(max_completion_tokens=5, max_tokens=9) == Sampling(max_tokens=5)
    assert sampling(max_completion_tokens=None, max_tokens=9) == Sampling(max_tokens=9)


def test_what_is_text_or_structure_is_a_flag() -> None:
    stops: list[dict[str, Any]] = [{"stop": "a"}, {"stop": ["a"]}, {"stop_token_ids": [7]}, {"ignore_eos": True}]
    assert [sampling(**one) for one in stops] == [Sampling(stops=True)] * 4
    shapes: list[dict[str, Any]] = [{"response_format": {"type": "text"}}, {"tools": [1]}, {"of_next_year": 1}]
    assert [sampling(**one) for one in shapes] == [Sampling(shaped=True)] * 3
    assert sampling_of(fields(), False) == Sampling(shaped=True)


@pytest.mark.parametrize(
    "said",
    [
        {"temperature": "hot"},
        {"temperature": -1},
        {"temperature": True},
        {"top_p": 2},
        {"seed": 2**63},
        {"top_k": 1.5},
        {"max_tokens": {}},
        {"max_completion_tokens": -1},
    ],
)
def test_what_no_server_takes_is_not_kept(said: dict[str, Any]) -> None:
    assert sampling(**said) is None


def test_numbers_beyond_all_bounds_are_not_kept() -> None:
    for number in (b"1e400", b"1" + b"0" * 400, b"NaN"):
        assert sampling_of({"temperature": msgspec.Raw(number)}, True) is None


@given(st.dictionaries(st.sampled_from([*SAID, "stop", "tools"]), st.none() | st.floats() | st.text() | st.integers()))
def test_any_values_give_a_valid_event_or_nothing(said: dict[str, Any]) -> None:
    found = sampling_of({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in said.items()}, True)
    assert found is None or Sampling.model_validate_json(found.model_dump_json()) == found


MESSAGES: list[tuple[dict[str, Any], bool]] = [
    ({"messages": [{"role": "user", "content": "hi"}]}, True),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, True),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, False),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, False),
    ({"prompt": "no template stands around it"}, False),
    ({"messages": "odd"}, False),
]


@pytest.mark.parametrize(("body", "whole"), MESSAGES)
def test_only_messages_of_text_can_be_sent_again_as_they_were(body: dict[str, Any], whole: bool) -> None:
    assert messages_of(parse(msgspec.json.encode(body)))[1] is whole


def test_an_exchange_records_it_and_the_server_gets_it_unchanged(world: World) -> None:
    world.push(route())
    world.chat(temperature=0.7, top_k=40, seed=5, stop=["ann@example.org"])
    asked = msgspec.json.decode(world.server.asked[-1].body)
    assert (asked["temperature"], asked["top_k"], asked["seed"], asked["stop"]) == (0.7, 40, 5, ["ann@example.org"])
    (exchange,) = world.captured()
    assert exchange.sampling == Sampling(temperature=0.7, top_k=40, seed=5, stops=True)
    assert b"ann@" not in world.sink.records[0].value
