"""What is frozen into a rollout's row when it begins."""

from __future__ import annotations

import pytest

from daemon.config import Config
from daemon.rollout_start import RolloutStart
from daemon.store import Store, Tx, cycles, exchanges, rollouts, versions
from deploy.guards import Bounds
from deploy.rollout import Phase, RolloutConfig
from tests.daemon.events import exchange
from tests.daemon.past import past

NOW = 10_000.0
VERSION = "support-bbbbbbbbbbbb"


def opened(store: Store, config: Config) -> rollouts.Rollout:
    """The row of a new rollout."""
    with store.begin() as tx:
        version(tx)
        cycle = cycles.Cycle("c1", "support", "a1", "rolling", True, "test", {}, NOW, NOW)
        name = RolloutStart(config, "support-aaaaaaaaaaaa", lambda: None, lambda: NOW).start(tx, cycle, VERSION)
        row = rollouts.get(tx, name)
    assert row is not None
    return row


def version(tx: Tx) -> None:
    digest = VERSION.removeprefix("support-").ljust(64, "0")
    versions.register(
        tx,
        versions.Version(VERSION, "support", "default", "lora", digest, "0" * 64, None, "gated", None, "{}", None, NOW),
    )


def config(**rollout: object) -> Config:
    return Config.model_validate(
        {
            "home": "/nonexistent",
            "deployment": {"name": "support", "alias": "support", "base_name": "support-base"},
            "rollout": rollout,
        }
    )


def test_the_bounds_come_from_the_95th_percentiles_of_the_time_before(store: Store) -> None:
    told = [
        exchange(i, first_token_s=i / 1000, completion_tokens=i % 100 + 2, status=500 if i >= 2000 else 200)
        for i in range(2020)
    ]
    told[:7] = [x.model_copy(update={"completion": "!" * 64}) for x in told[:7]]
    with store.begin() as tx:
        exchanges.insert_new(tx, told)
    data = opened(store, config()).data
    assert data["bounds"]["first_token_s"] == 1.9
    assert data["bounds"]["tokens"] == Bounds.rambling(97.0)
    assert data["bounds"]["token_s"] > 0.0
    slow = data["before"].pop("slow")
    assert data["before"] == {"requests": 2020, "errors": 20, "corrupt": 7}
    assert 0 < slow <= 2 * 101  # a twentieth by each of two bounds, at most


def test_with_little_traffic_nothing_is_slow_but_what_the_operator_says(store: Store) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(i, first_token_s=0.1) for i in range(50)])
    data = opened(store, config(first_token_slo_s=0.7)).data
    assert data["bounds"] == {"first_token_s": 0.7, "token_s": None, "tokens": None}


def test_the_yearly_budget_is_frozen_for_promotions_and_for_nothing_else(store: Store) -> None:
    with store.begin() as tx:
        past(tx, 14, Phase.PROMOTED)
        past(tx, 1, Phase.DENIED)
    given = RolloutConfig.model_validate(opened(store, config()).data["config"])
    assert given.promote_threshold == pytest.approx(1.0 / 0.03), "fourteen have spent .7 of 1; one met no traffic"
    assert given.threshold == 20.0
