"""One alpha of promotion: what is frozen, what the forecast goes by, what ``power`` shows and what ``why`` says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from daemon import promotion_budget, secrets
from daemon.api.application import build
from daemon.config import Config
from daemon.invariants.of_decisions import data_before_promotion
from daemon.promotion_budget import next_config
from daemon.standing import Standing
from daemon.status import status
from daemon.store import Store, cycles, ledger, rollouts, versions
from deploy.agent import Observation
from deploy.alpha_budget import LEAST, YEAR_S
from deploy.evidence import Evidence
from deploy.guards import Bounds
from deploy.power import Outlook, forecast
from deploy.rollout import LIVE, Phase, RolloutConfig
from monitors.coverage import Coverage
from tests.daemon.fakes import FakeController
from tests.daemon.learning_shell import learning
from tests.daemon.past import past

NOW = 10_000.0
VERSION = "support-bbbbbbbbbbbb"
OUTLOOK = Outlook(0.05, 0.1, 1.0, 0.25, 1.0)
CONFIG = Config.model_validate(
    {
        "home": "/nonexistent",
        "deployment": {"name": "support", "alias": "support", "base_name": "support-base"},
        # between what this outlook takes at the configured alpha and what it takes at the one that the year has left
        "rollout": {"maturity_s": 1.0, "lateness_s": 0.0, "deadline_s": 6000.0},
    }
)


def examined(store: Store) -> cycles.Cycle:
    """A cycle in its gate, one tick of the learning shell later."""
    digest = VERSION.removeprefix("support-").ljust(64, "0")
    with store.begin() as tx:
        row = versions.Version(
            VERSION, "support", "default", "lora", digest, "0" * 64, None, "gated", None, "{}", None, NOW
        )
        versions.register(tx, row)
        data: dict[str, Any] = {"version": VERSION, "overrides": {}, "slice": None}
        cycles.create(
            tx, cycle="c1", deployment="support", cause="manual", phase="gating", reason="trained", data=data, at=NOW
        )
    learning(store, CONFIG, OUTLOOK, NOW).tick(None, False, False)
    with store.read() as read:
        found = cycles.get(read, "c1")
    assert found is not None
    return found


def asked(store: Store, tmp_path: Path, path: str) -> Any:
    """What the API answers to the operator."""
    folder = tmp_path / "secrets"
    app = build(
        deployment="support",
        store=store,
        controller=FakeController(),
        tokens=secrets.prepare(folder),
        allowed_hosts=["127.0.0.1"],
        config=CONFIG,
        clock=lambda: NOW,
    )
    headers = {"Authorization": f"Bearer {secrets.read(folder, 'operator.token')}"}
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as client:
        return client.get(f"/api/v1/{path}").json()


def test_a_verdict_is_expected_at_the_alpha_that_the_rollout_is_then_given(store: Store) -> None:
    cycle = examined(store)
    assert (cycle.phase, cycle.reason) == ("rolling", "gate_passed")
    with store.read() as read:
        row = rollouts.active(read, "support")
    assert row is not None
    frozen = RolloutConfig.model_validate(row.data["config"])
    assert cycle.data["seconds"] == forecast(OUTLOOK, frozen).seconds
    assert cycle.data["needs_promote"] == frozen.promote_threshold == 20.0


def test_an_alpha_lowered_by_the_year_makes_the_same_outlook_underpowered_and_all_say_so(
    store: Store, tmp_path: Path
) -> None:
    with store.begin() as tx:
        past(tx, 20, Phase.PROMOTED)
    cycle = examined(store)
    assert (cycle.phase, cycle.reason) == ("stopped", "underpowered")
    with store.read() as read:
        frozen = next_config(read, "support", CONFIG.rollout, NOW)
        assert rollouts.active(read, "support") is None
    assert frozen.promotion_alpha == LEAST
    assert (
        cycle.data["seconds"] == forecast(OUTLOOK, frozen).seconds > 6000.0 > forecast(OUTLOOK, CONFIG.rollout).seconds
    )
    rates = "sessions_per_hour=3600&feedback_rate=1"
    table = asked(store, tmp_path, f"power?{rates}&effect=0.08")
    assert table["policy"]["alpha_promote"] == LEAST and table["policy"]["alpha"] == 0.05
    assert table["rows"][0]["reaches_deadline"] is False
    told = asked(store, tmp_path, "evidence/c1")["explanation"]
    measure = next(m for m in told["measures"] if m["name"] == "forecast_s")
    assert (measure["threshold"], measure["reached"], "e 1e+06 a step" in measure["words"]) == (6000.0, False, True)
    assert any("would need e 1e+06" in line and "1e-06 for a wrong promotion" in line for line in told["next"])


@pytest.mark.parametrize("ended", [Phase.ABORTED, Phase.INCONCLUSIVE])
def test_a_rollout_that_ended_before_its_canary_spends_nothing(store: Store, ended: Phase) -> None:
    with store.begin() as tx:
        for left in (Phase.STARTING, Phase.SOAKING, Phase.PROVING, Phase.AWAITING_CANARY):
            past(tx, 5, ended, left)
        past(tx, 5, Phase.DENIED)
        assert next_config(tx, "support", CONFIG.rollout, NOW).promotion_alpha == 0.05
        for left in LIVE:
            past(tx, 4, ended, left)
        assert next_config(tx, "support", CONFIG.rollout, NOW).promotion_alpha == pytest.approx(0.02)
        assert next_config(tx, "support", CONFIG.rollout, NOW + YEAR_S).promotion_alpha == 0.05


def test_on_doubt_a_rollout_has_spent_its_alpha(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.begin() as tx:
        past(tx, 6, Phase.ABORTED)  # nobody knows from where
        past(tx, 6, Phase.INCONCLUSIVE, Phase.PROMOTED)  # nowhere that it could have come from
        past(tx, 2, Phase.ROLLED_BACK)
        past(tx, 1, Phase.PROVING)  # under way: it will meet users, if nothing stops it
        assert next_config(tx, "support", CONFIG.rollout, NOW).promotion_alpha == pytest.approx(0.025)
        monkeypatch.setattr(promotion_budget, "MOST_A_YEAR", 15)
        assert next_config(tx, "support", CONFIG.rollout, NOW).promotion_alpha == LEAST, "more than can be looked at"


def test_the_status_shows_the_e_value_that_each_process_needs(store: Store) -> None:
    config = CONFIG.rollout.model_copy(update={"alpha_promote": 0.01})
    data = {"config": config.model_dump(mode="json")}
    with store.begin() as tx:
        row = rollouts.Rollout("r1", "support", VERSION, None, "a", "canary_half", True, "t", data, NOW, NOW, NOW)
        rollouts.create(tx, row)
    routing: Any = SimpleNamespace(route=None, file=None)
    evidence = Evidence("r1", config, Bounds(), lambda _text: True)
    watch = SimpleNamespace(coverage=Coverage("warming", 0, 100, 0.0, 0.0, 0, 50, False))
    ingest: Any = SimpleNamespace(evidence=evidence, lag=dict, watch=watch)
    shown = status(store, CONFIG, Standing(None, (), None), Observation((), None), routing, ingest)["rollout"][
        "evidence"
    ]
    needed = {name: shown[name]["needs"] for name in ("non_inferior_half", "superior_in_slice", "harm", "sample_ratio")}
    assert needed == {"non_inferior_half": 100.0, "superior_in_slice": 100.0, "harm": 20.0, "sample_ratio": 200.0}


def test_a_step_that_passed_below_the_alpha_of_promotion_breaks_an_invariant() -> None:
    config = RolloutConfig(alpha_promote=0.01).model_dump(mode="json")
    row = rollouts.Rollout("r1", "support", VERSION, None, "a", "canary_half", True, "t", {"config": config}, 0, 0, 0)
    data = {"from_phase": "canary_small", "to_phase": "canary_half", "e_non_inferior_small": 30.0}
    entry = ledger.Entry(1, NOW, "support", "r1", "rollout", "non_inferior", "daemon", data)
    facts: Any = SimpleNamespace(rollouts=[row], ledger=[entry], ledger_from=0, units={}, unit_events={})
    assert any("e_non_inferior_small = 30.0, 100.0 are needed" in said for said in data_before_promotion(facts))


def test_an_alpha_of_promotion_that_the_operator_lowered_stays_the_ceiling(store: Store) -> None:
    own = CONFIG.rollout.model_copy(update={"alpha_promote": 0.004})
    with store.read() as read:
        assert next_config(read, "support", own, NOW).promotion_alpha == 0.004
