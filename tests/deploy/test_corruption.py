"""What an engine says that computes with NaN, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.corruption import corrupted
from deploy.evidence import Evidence
from deploy.fleet import Before
from deploy.guards import Bounds
from streams.events import Exchange, Message, Sampling
from tests.deploy.test_evidence import CONFIG, exchange

PLAIN = "Your parcel is on its way."


def said(text: str, **fields: Any) -> Exchange:
    return exchange("s").model_copy(update={"completion": text, "completion_tokens": 40, **fields})


@pytest.mark.parametrize(
    "reply",
    [
        said("!" * 64),
        said("!!!!!!!!"),
        said("Your parcel is" + "!" * 40),
        said(" ", finish_reason="length"),
        said("\ufffd\ufffda\ufffd and so on"),
        said(PLAIN, completion_token_ids=(7, 8, *([0] * 20))),
    ],
)
def test_runs_of_one_token_silence_and_bytes_that_are_no_text(reply: Exchange) -> None:
    assert corrupted(reply)


@pytest.mark.parametrize(
    "reply",
    [
        said(PLAIN),
        said("No!!!"),
        said("| a |\n|" + "-" * 20),
        said("a cut emoji \ufffd"),
        said("", completion_tokens=1),
        said("", completion_tokens=None),
        said("", finish_reason="tool_calls"),
        said("", sampling=Sampling(shaped=True)),
        said("", messages=()),
        said("!" * 64, status=500),
        said(PLAIN, completion_token_ids=tuple(range(40))),
        said("ok", completion_token_ids=(0, 0)),
    ],
)
def test_what_a_model_may_say_or_nobody_can_read(reply: Exchange) -> None:
    assert not corrupted(reply)


def test_an_engine_that_both_arms_share_and_a_candidate_breaks_ends_the_rollout() -> None:
    """The candidate's NaN lies in the cache of both arms: status 200, as fast as ever, and no arm is worse."""
    config = CONFIG.model_copy(update={"fleet_window": 40})
    evidence = Evidence("r1", config, Bounds(), lambda _text: False, Before(1000, 10, corrupt=0))
    for i in range(44):
        broken = {"completion": "!" * 64} if i % 4 < 2 else {}
        x = exchange(f"a{i}", canary=i % 2 == 0).model_copy(update={"completion_tokens": 64, **broken})
        assert x.messages and isinstance(x.messages[0], Message)
        evidence.observe_exchange(x, True)
    assert evidence.kill.fleet == "fleet_corrupted"
    assert evidence.kill.consecutive == 0
    for i in range(40):
        evidence.observe_exchange(exchange(f"b{i}", canary=i % 2 == 0), True)
    assert evidence.kill.fleet == ""
