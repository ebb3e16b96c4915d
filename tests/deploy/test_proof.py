"""The effect proof's judgement, on completions written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.demonstrations import Demonstrations, Pair
from adapters.manifest import MANIFEST_NAME, FingerprintItem
from deploy.agent import AgentConfig, LocalAgent, Replica
from deploy.driver import Completion
from deploy.proof import (
    IDENTITY_TRIES,
    QUESTIONS,
    TOLERANCE,
    Look,
    judge_demonstrations,
    judge_identity,
    judge_lora,
    prove,
    prove_demonstrations,
)
from tests.deploy.demonstrated import put
from tests.deploy.manifests import identity_manifest

ITEM = FingerprintItem(
    prompt_ids=[1, 3],
    expected_ids=[10, 11, 12, 2],
    expected_logprobs=[-0.1, -0.2, -0.3, -0.1],
    base_ids=[20, 21, 22, 23],
    base_logprobs=[-2.0, -2.0, -2.0, -2.0],
)


def said(ids: Sequence[int], logs: Sequence[float]) -> Completion:
    """What a replica said."""
    return Completion(tuple(ids), tuple(logs), "")


GOOD = said(ITEM.expected_ids, ITEM.expected_logprobs)
AS_BASE = said(ITEM.base_ids, ITEM.base_logprobs)


def test_the_trainers_own_numbers_are_proved() -> None:
    result = judge_lora([ITEM, ITEM], [GOOD, GOOD])
    assert result.ok and result.reason == "proved"
    assert result.numbers["compared"] == 8.0 and result.numbers["gap"] == 0.0


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (AS_BASE, "no_effect"),
        (said([10, 11, 12, 2], [-0.1, -0.2, -0.3 - 2 * TOLERANCE, -0.1]), "effect_differs"),
        (said([10, 11, 13, 2], [-0.1, -0.2, -0.3, -0.1]), "effect_differs"),  # sure of another token: no tie
        (said([10, 11], [-0.1, -0.2]), "effect_differs"),  # cut short
        (said([10, 11, 12, 2], [-0.1, -0.2, math.nan, -0.1]), "not_finite"),
        (said([10, 11, 12, 2], [-0.1, -0.2, -0.3]), "not_finite"),
        (said([], []), "not_finite"),
    ],
)
def test_anything_else_is_not(found: Completion, reason: str) -> None:
    assert judge_lora([ITEM, ITEM], [GOOD, found]).reason == (reason if reason != "no_effect" else "effect_differs")
    alone = judge_lora([ITEM], [found])
    assert (alone.ok, alone.reason) == (False, reason)


def test_a_small_gap_is_rounding_and_a_larger_one_is_not() -> None:
    for gap, ok in ((0.9 * TOLERANCE, True), (1.1 * TOLERANCE, False)):
        logs = [x - gap for x in ITEM.expected_logprobs]
        assert judge_lora([ITEM], [said(ITEM.expected_ids, logs)]).ok is ok


def test_a_near_tie_ends_a_comparison_without_failing_it() -> None:
    tied = ITEM.model_copy(update={"expected_logprobs": [-0.1, -0.2, -0.7, -0.1]})
    other = said([10, 11, 99, 55], [-0.1, -0.2, -0.71, -3.0])
    assert judge_lora([tied], [other]).ok  # two of four tokens compared
    early = said([10, 99, 98, 97], [-0.1, -0.71, -0.1, -0.1])
    soon = ITEM.model_copy(update={"expected_logprobs": [-0.1, -0.7, -0.3, -0.1]})
    assert judge_lora([soon], [early]).reason == "too_few_tokens_agree"


def test_a_fingerprint_that_does_not_tell_the_base_apart_proves_nothing() -> None:
    weak = ITEM.model_copy(update={"base_ids": ITEM.expected_ids, "base_logprobs": ITEM.expected_logprobs})
    assert judge_lora([weak], [GOOD]).reason == "no_effect"
    assert judge_lora([weak, ITEM], [GOOD, GOOD]).ok  # one item that does is enough
    assert judge_lora([], []).reason == "no_fingerprint"


def test_identity_must_equal_the_base() -> None:
    assert judge_identity([(AS_BASE, AS_BASE)]).reason == "proved"
    assert judge_identity([(GOOD, AS_BASE)]).reason == "identity_changes_tokens"
    off = said(ITEM.base_ids, [x - 2 * TOLERANCE for x in ITEM.base_logprobs])
    assert judge_identity([(off, AS_BASE)]).reason == "identity_differs"
    assert judge_identity([]).reason == "no_probes"
    assert judge_identity([(said([1], [math.nan]), AS_BASE)]).reason == "not_finite"


class Flaky:
    """A base whose first answer comes from the wrong slot, as some builds give it."""

    def __init__(self, wrong: int) -> None:
        self.wrong, self.asked = wrong, 0

    def complete(self, model: str, prompt_ids: Sequence[int], max_tokens: int) -> Completion:
        """Wrong for the first ``wrong`` questions to the base."""
        if model != "support-base":
            return AS_BASE
        self.asked += 1
        return GOOD if self.asked <= self.wrong else AS_BASE


def test_one_wrong_slot_does_not_fail_the_identity_but_a_lasting_one_does() -> None:
    assert prove(Flaky(1), identity_manifest(), "support-base", [[1, 3]]).ok
    lasting = Flaky(99)
    assert not prove(lasting, identity_manifest(), "support-base", [[1, 3]]).ok
    assert lasting.asked == IDENTITY_TRIES


BELOW = "support-aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (GOOD, "proved"),
        (AS_BASE, "no_effect"),  # nothing was inserted, or it changes nothing
        (said([10, 11, 12, 2], [-0.1, -0.2, -0.3 - 2 * TOLERANCE, -0.1]), "effect_differs"),  # other pairs
        (said([10, 11, 13, 2], [-0.1, -0.2, -0.3, -0.1]), "effect_differs"),
        (said([10, 11, 12, 2], [-0.1, math.nan, -0.3, -0.1]), "not_finite"),
        (said([], []), "not_finite"),
    ],
)
def test_pairs_must_do_what_they_do_when_spelled_out_and_something_at_all(shown: Completion, reason: str) -> None:
    result = judge_demonstrations([Look(shown, GOOD, AS_BASE)])
    assert (result.ok, result.reason) == (reason == "proved", reason)


def test_pairs_that_change_nothing_prove_nothing_even_where_they_are_inserted() -> None:
    assert judge_demonstrations([Look(AS_BASE, AS_BASE, AS_BASE)] * 4).reason == "no_effect"
    assert judge_demonstrations([]).reason == "no_probes"


class Scripted:
    """A replica that answers by how many messages it reads; ``inserted`` is what its gateway adds for the version."""

    def __init__(self, inserted: int) -> None:
        self.inserted, self.asked = inserted, 0

    def say(self, model: str, messages: Sequence[dict[str, str]], max_tokens: int) -> Completion:
        self.asked += 1
        read = len(messages) + (self.inserted if model != BELOW else 0)
        return said([10 + read, 2], [-0.01 * read, -0.1])


@pytest.mark.parametrize(("inserted", "reason"), [(10, "proved"), (8, "effect_differs"), (0, "no_effect")])
def test_a_gateway_that_inserts_fewer_pairs_or_none_is_found_out(inserted: int, reason: str) -> None:
    pairs = tuple(Pair(exchange_id=f"x{n}", question=f"q{n}", answer=f"a{n}") for n in range(5))
    server = Scripted(inserted)
    found = prove_demonstrations(server, "support-dddddddddddd", Demonstrations(stands_on=BELOW, pairs=pairs))
    assert found.reason == reason and server.asked == 3 * QUESTIONS


class WrongBelow:
    """A server whose identity version is not its base; it is asked nothing about what stands on that."""

    def __init__(self, _url: str, _token: str, timeout_s: float = 0.0) -> None:
        self.timeout_s = timeout_s

    def gateway(self) -> dict[str, str]:
        """One server process."""
        return {"started_at": "1"}

    def complete(self, model: str, prompt_ids: Sequence[int], max_tokens: int) -> Completion:
        """Something else than the base."""
        return AS_BASE if model == "support-base" else GOOD

    def tell_proved(self, versions: Sequence[str]) -> None:
        """Nothing is."""
        assert list(versions) == []

    def close(self) -> None:
        """Nothing to release."""


def test_pairs_are_not_asked_where_what_they_stand_on_is_not_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.agent.Driver", WrongBelow)
    below, token = identity_manifest(), tmp_path / "token"
    (tmp_path / "artifacts" / below.version).mkdir(parents=True)
    (tmp_path / "artifacts" / below.version / MANIFEST_NAME).write_bytes(below.to_bytes())
    token.write_text("t")
    shown, _ = put(tmp_path / "artifacts", below.version)
    config = AgentConfig(
        replicas=(Replica(name="one", url="http://127.0.0.1:1"),),
        artifacts=tmp_path / "artifacts",
        route_file=tmp_path / "route.json",
        control_token_file=token,
        base_name="support-base",
    )
    agent = LocalAgent(config)
    result = agent.prove(shown, "one")
    agent.close()
    assert (result.ok, result.reason) == (False, "stands_on_unproved")
