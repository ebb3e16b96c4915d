"""What the API answers to "why": words, numbers that the ledger's equal, and the path of the e-values."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from daemon import ledger, secrets
from daemon.api.application import build
from daemon.config import Config
from daemon.cycle import CycleConfig
from daemon.explain.rollout_words import REASONS
from daemon.store import Store, Tx, alarms, buffers, cycles, denials, feedback, rollouts, tables, versions
from daemon.store import exchanges as exchange_rows
from daemon.store.alarms import AlarmRow
from deploy.kill_query import HOLD_REASONS
from deploy.verdict import REASONS as VERDICTS
from deploy.verdict import VOIDS
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.fakes import FakeController
from tests.daemon.recorded import CANDIDATE, CONFIG, record_rollout

NOW = 10_000.0


@pytest.fixture
def api(store: Store, tmp_path: Path) -> Generator[TestClient]:
    folder = tmp_path / "secrets"
    app = build(
        deployment="support",
        store=store,
        controller=FakeController(),
        tokens=secrets.prepare(folder),
        allowed_hosts=["127.0.0.1"],
        config=Config(cycle=CycleConfig(min_labels=10, min_selected=5, label_deadline_s=600.0)),
        clock=lambda: NOW,
    )
    headers = {"Authorization": f"Bearer {secrets.read(folder, 'operator.token')}"}
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


def told(api: TestClient, subject: str) -> dict[str, Any]:
    answer = api.get(f"/api/v1/evidence/{subject}")
    assert answer.status_code == 200, answer.text
    return answer.json()["explanation"]


def create_cycle(tx: Tx, phase: str, reason: str, data: dict[str, Any]) -> None:
    cycles.create(
        tx, cycle="c1", deployment="support", cause="a1", phase=phase, reason=reason, data=data, at=NOW - 90.0
    )


def measure(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(m for m in document["measures"] if m["name"] == name)


def test_a_harmful_candidate_is_explained_with_the_numbers_that_ended_it(api: TestClient, store: Store) -> None:
    record_rollout(store, good=0.05, bad=0.95)
    document = told(api, "r1")
    assert (document["decided"]["what"], document["decided"]["reason"]) == ("rolled back", "reward_harm")
    with store.read() as read:
        recorded = ledger.why(read, "r1")[-1].data
    harm = measure(document, "harm")
    assert (harm["value"], harm["threshold"], harm["reached"]) == (recorded["e_harm"], 20.0, True)
    assert f"{recorded['e_harm']:.3g}" in document["decided"]["words"]
    assert {arm["arm"]: arm["units"] for arm in document["arms"]}.keys() == {"control", "canary"}
    assert sum(arm["units"] for arm in document["arms"]) == recorded["units"]
    assert (document["effect"]["estimate"] < 0.0, document["effect"]["basis"]) == (True, "first rewards")
    control, canary = document["arms"]
    assert control["first_reward"] > 0.8 > 0.2 > canary["first_reward"]
    assert control["mean_reward"] is None
    assert "deny list" in document["next"][0]
    assert any("same numbers, bit for bit" in note and "1 of 1" in note for note in document["notes"])
    assert document["path"]["units"][-1] == recorded["units"]
    assert 10 ** document["path"]["log10_e"]["harm"][-1] == pytest.approx(recorded["e_harm"])
    assert len({len(line) for line in document["path"]["log10_e"].values()} | {len(document["path"]["units"])}) == 1


@pytest.mark.parametrize("reason", sorted(VOIDS.values()))
def test_a_void_comparison_names_the_limit_that_it_crossed(api: TestClient, store: Store, reason: str) -> None:
    record_rollout(store, good=0.6, bad=0.6, units=5)
    with store.begin() as tx:
        row = rollouts.get(tx, "r1")
        assert row is not None
        data = {**row.data, "waiting": ""}
        rollouts.update_phase(tx, "r1", phase="inconclusive", reason=reason, at=NOW, data=data, ended=True)
    document = told(api, "r1")
    assert "limit 200)" in document["decided"]["words"]
    process = next(name for name, given in VOIDS.items() if given == reason)
    assert measure(document, process)["threshold"] == 200.0 == document["path"]["thresholds"][process]


def test_units_that_do_not_give_the_recorded_verdict_are_told(api: TestClient, store: Store) -> None:
    record_rollout(store, good=0.05, bad=0.95)
    with store.begin() as tx:
        T = tables.unit_events
        tx.conn.execute(T.update().where((T.c.path == "harm") & (T.c.seq < 40)).values(value=0.5))
    notes = told(api, "r1")["notes"]
    assert any("0 of 1" in note for note in notes)
    assert any("do not follow from the units" in note for note in notes)


def test_a_running_step_says_what_it_waits_for(api: TestClient, store: Store) -> None:
    record_rollout(store, good=0.6, bad=0.6, units=60)
    document = told(api, "r1")
    assert document["decided"]["reason"] == "too_few_units"
    arm = measure(document, "units_an_arm")
    assert (arm["threshold"], arm["reached"]) == (20.0, False)
    assert "50 %" in document["next"][0]
    assert {"homeostat rollback", "homeostat abort", "homeostat pause"} <= {r["command"] for r in document["can_do"]}
    assert document["path"]["marks"] == []


def test_a_version_carries_its_denial_its_gate_and_its_rollout(api: TestClient, store: Store) -> None:
    record_rollout(store, good=0.05, bad=0.95)
    checks = [
        {"name": "old", "reason": "old_desks_worse", "n": 1200, "estimate": -0.004, "bound": -0.011, "margin": -0.02,
         "ok": True},
        {"name": "nll", "reason": "nll_worse", "n": 0, "estimate": None, "bound": None, "margin": 0.5, "ok": None},
    ]  # fmt: skip
    with store.begin() as tx:
        versions.set_gate(tx, CANDIDATE, {"verdict": "pass", "reason": "passed", "checks": checks}, passed=True)
        denials.deny(tx, "support", CANDIDATE, reason="rolled_back:reward_harm", actor="daemon", at=3000.0)
        versions.set_status(tx, CANDIDATE, "denied")
        T = tables.versions
        tx.conn.execute(T.update().where(T.c.version == CANDIDATE).values(buffer="b" * 64))
        counts = {"new": 30, "out/agreement/alone": 7, "out/dedupe/near_duplicate": 9}
        buffers.add(tx, buffers.Buffer("b" * 64, "support", "default", "manual", counts, 1.0), [])
    document = told(api, CANDIDATE)
    assert document["decided"]["what"] == "denied for good"
    assert "It learned from buffer bbbbbbbbbbbb: new 30." in document["notes"]
    assert "Left out of it: dedupe/near_duplicate 9, agreement/alone 7." in document["notes"]
    assert "below the control's" in document["decided"]["words"]
    old = measure(document, "gate_old")
    assert (old["value"], old["relation"], old["threshold"], old["reached"]) == (-0.011, ">", -0.02, True)
    assert measure(document, "gate_nll")["reached"] is None
    assert document["path"] is not None
    assert document["can_do"][0]["command"] == "homeostat why r1"


def alarm(name: str, **changes: Any) -> AlarmRow:
    body = {"evidence": changes.pop("evidence", {}), "slice": None}
    values: dict[str, Any] = {"kind": "input", "detector": "classifier_bet", "primary": True, "confirmed": True}
    values |= changes
    return AlarmRow(alarm_id=name, deployment="support", at=NOW - 500.0, body=body, **values)


def test_alarms_name_their_statistics_and_what_became_of_them(api: TestClient, store: Store) -> None:
    seen = {
        "t2": 31.0, "t2_threshold": 40.0, "log_e": 9.5, "log_e_threshold": 8.3, "auc": 0.93, "p_value": 0.0002,
        "alpha": 0.003, "share": 0.4, "fresh": 16, "terms": ["refund", "parcel"],
    }  # fmt: skip
    slow = {"signal": "latency", "level": -0.5}
    with store.begin() as tx:
        alarms.insert_new(
            tx,
            [
                alarm("a1", evidence=seen),
                alarm("a2", kind="latency", detector="adwin", primary=False, confirmed=False, evidence=slow),
            ],
        )
    document = told(api, "a1")
    assert [(m["name"], m["reached"]) for m in document["measures"]] == [
        ("t2", False),
        ("log_e", True),
        ("p_value", True),
    ]
    assert "confirmed it" in document["decided"]["words"]
    assert document["next"] == ["Nothing: in mode observe the daemon trains nothing."]
    assert any("refund" in note for note in document["notes"])
    informer = told(api, "a2")
    assert "informer" in informer["decided"]["words"]
    assert "only a confirmed alarm" in informer["next"][0]
    with store.begin() as tx:
        alarms.answer(tx, "a1", "c1")
    assert told(api, "a1")["next"] == ["Answered by c1."]


def test_an_alarm_against_less_than_a_day_says_what_else_it_may_be(api: TestClient, store: Store) -> None:
    with store.begin() as tx:
        alarms.insert_new(
            tx,
            [
                alarm("a1", evidence={"reference_s": 3.0 * 3600.0}),
                alarm("a2", evidence={"reference_s": 86_400.0}),
                alarm("a3"),
            ],
        )
    said = "the reference covers 3 h: a daily cycle can look like this; monitors.reference_span_s"
    assert [said in told(api, name)["notes"] for name in ("a1", "a2", "a3")] == [True, False, False]


def test_a_collecting_cycle_shows_its_labels_and_a_stopped_one_its_reason(api: TestClient, store: Store) -> None:
    with store.begin() as tx:
        exchange_rows.insert_new(tx, [exchange(n, received_at=NOW - 50.0) for n in range(4)])
        feedback.insert_new(tx, [said(n, f"x{n}", sent_at=NOW - 40.0) for n in range(4)])
        data: dict[str, Any] = {"slice": None, "overrides": {}, "alarm_at": NOW - 100.0}
        create_cycle(tx, "collecting", "input_drift", data)
    document = told(api, "c1")
    labels = measure(document, "labels")
    assert (labels["value"], labels["threshold"], labels["reached"]) == (4.0, 10.0, False)
    assert measure(document, "waited_s")["value"] == 90.0
    assert "510 s" not in document["next"][1] and "8.5 min" in document["next"][1]
    assert document["can_do"] == [{"command": "homeostat abort", "effect": "end the cycle"}]
    with store.begin() as tx:
        data = {**data, "new": 7, "version": "v1", "units": 9000.0}
        cycles.update_phase(tx, "c1", phase="stopped", reason="underpowered", data=data, at=NOW - 10.0, active=False)
    document = told(api, "c1")
    forecast = measure(document, "forecast_s")
    assert (forecast["value"], forecast["reached"]) == (None, False)
    assert measure(document, "selected")["reached"] is True
    assert "cooldown ends in" in document["next"][1]
    assert "homeostat power" in {r["command"] for r in document["can_do"]}


def test_unknown_ids_are_404_and_a_story_alone_is_no_explanation(api: TestClient, store: Store) -> None:
    assert api.get("/api/v1/evidence/nothing").json()["reason"] == "unknown_subject"
    with store.begin() as tx:
        ledger.append(tx, "support", "buffer", "d1", "selected", actor="daemon", at=1.0)
    answer = api.get("/api/v1/evidence/d1").json()
    assert answer["explanation"] is None
    assert [entry["subject"] for entry in answer["story"]] == ["d1"]


def test_every_reason_of_a_verdict_has_words() -> None:
    assert (VERDICTS | set(HOLD_REASONS)) - set(REASONS) == set()


def test_a_smaller_error_of_promotion_is_a_higher_threshold_for_steps_alone(api: TestClient, store: Store) -> None:
    config = CONFIG.model_copy(update={"alpha_promote": 0.01})
    record_rollout(store, good=0.95, bad=0.4, units=120, config=config)
    document = told(api, "r1")
    assert (measure(document, "non_inferior_small")["threshold"], measure(document, "harm")["threshold"]) == (100, 20)
    assert "At e 100 against a loss" in document["next"][0]
    assert document["path"]["thresholds"]["superior_in_slice"] == 100


def test_a_rollout_that_too_few_people_could_judge_says_so(api: TestClient, store: Store) -> None:
    with store.begin() as tx:
        data: dict[str, Any] = {"slice": None, "overrides": {}, "units": 291.0, "most_units": 60.0}
        create_cycle(tx, "stopped", "underpowered", data)
    units = measure(told(api, "c1"), "units")
    assert (units["value"], units["threshold"], units["reached"]) == (291.0, 60.0, False)
