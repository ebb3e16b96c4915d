"""The alert rules under promtool, and that every metric they name exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from monitors.metrics import Metrics

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERTS = {
    "ConsumerStalled",
    "EventGap",
    "EventSetAside",
    "RolloutStuck",
    "CanaryNoData",
    "ReplicaUnverified",
    "ChampionAway",
    "DeploymentFrozen",
    "RollbackFailed",
    "TrainerFailing",
    "KillQueryBlind",
}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.fail("promtool is missing: apt-get install prometheus (make services does)")
    return subprocess.run([found, *arguments], cwd=RULES, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_rules_are_well_formed_and_fire_as_their_unit_tests_say() -> None:
    for arguments in (("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_there_and_has_a_unit_test() -> None:
    rules = yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules} == ALERTS
    assert all({"summary", "action"} == set(rule["annotations"]) for rule in rules)
    pages = {r["alert"] for r in rules if r["labels"]["severity"] == "page"}
    assert pages == {"RollbackFailed", "ChampionAway", "DeploymentFrozen"}
    tests = yaml.safe_load((RULES / "alerts_test.yaml").read_text())["tests"]
    firing = {t["alertname"] for case in tests for t in case["alert_rule_test"] if t["exp_alerts"]}
    assert firing == ALERTS


def test_every_metric_of_the_rules_is_exported() -> None:
    used = set(re.findall(r"homeostat_[a-z_]+", (RULES / "alerts.yaml").read_text()))
    metrics = Metrics()
    metrics.consumer_age.labels("traffic").set(0)
    metrics.gap_events.labels("traffic")
    metrics.kill_query_looks.labels("errors", "missing")
    metrics.replica_ready.labels("a").set(1)
    metrics.replica_verified.labels("a").set(1)
    exported = set(re.findall(r"^(homeostat_[a-z_]+)", generate_latest(metrics.registry).decode(), re.MULTILINE))
    assert used and used <= exported, used - exported


def test_two_sets_of_metrics_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.rollbacks.labels("failed").inc()
    assert 'homeostat_rollbacks_total{outcome="failed"} 0.0' in generate_latest(second.registry).decode()
