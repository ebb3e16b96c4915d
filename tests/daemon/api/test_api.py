"""The API: scopes, commands, looks, faults as JSON."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter

from daemon import ledger, secrets
from daemon.api.application import build
from daemon.api.ports import By, Readiness
from daemon.faults import Refused, Unreachable
from daemon.store import Store, buffers, units
from daemon.store.buffers import Buffer, Item
from tests.daemon.fakes import FakeController

COMMANDS = ["rollback", "promote", "approve", "abort", "pause", "resume", "adapt"]
LOOKS = [
    "status",
    "versions",
    "rollouts",
    "rollouts/x",
    "rollouts/x/units",
    "alarms",
    "cycles",
    "events",
    "labels",
    "why/x",
]


@pytest.fixture
def controller() -> FakeController:
    return FakeController()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


@pytest.fixture
def api(store: Store, controller: FakeController, folder: Path) -> Generator[TestClient]:
    """A client without a token."""
    registry = CollectorRegistry()
    Counter("homeostat_test", "A counter.", registry=registry).inc()
    app = build(
        deployment="support",
        store=store,
        controller=controller,
        tokens=secrets.prepare(folder),
        allowed_hosts=["127.0.0.1"],
        registry=registry,
    )
    with TestClient(app, base_url="http://127.0.0.1:8377", raise_server_exceptions=False) as client:
        yield client


def bearer(folder: Path, who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secrets.read(folder, f'{who}.token')}"}


def add_token(folder: Path, raw: str, *scopes: Any) -> None:
    path = folder / "tokens.json"
    known = secrets.TokenFile.model_validate_json(path.read_bytes())
    entry = secrets.TokenEntry(name="somebody", sha256=secrets.hash_token(raw), scopes=scopes)
    path.write_text(secrets.TokenFile(tokens=(*known.tokens, entry)).model_dump_json())


@pytest.mark.parametrize("path", [f"/api/v1/{look}" for look in LOOKS])
def test_looks_need_a_token_with_read(api: TestClient, folder: Path, path: str) -> None:
    assert api.get(path).status_code == 401
    assert api.get(path, headers={"Authorization": "Bearer wrong"}).json()["reason"] == "wrong_token"
    refused = api.get(path, headers=bearer(folder, "trainer"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "missing_scope")
    assert api.get(path, headers=bearer(folder, "operator")).status_code in (200, 404)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_reader_may_not_command(store: Store, controller: FakeController, folder: Path, verb: str) -> None:
    secrets.prepare(folder)
    add_token(folder, "reader", "read")
    app = build(
        deployment="support",
        store=store,
        controller=controller,
        tokens=secrets.prepare(folder),
        allowed_hosts=["127.0.0.1"],
    )
    client = TestClient(app, base_url="http://127.0.0.1")
    answer = client.post(f"/api/v1/{verb}", json={}, headers={"Authorization": "Bearer reader"})
    assert (answer.status_code, controller.calls) == (403, [])


def test_an_operator_without_admin_may_roll_back_but_not_promote(
    store: Store, controller: FakeController, folder: Path
) -> None:
    secrets.prepare(folder)
    add_token(folder, "op", "read", "operate")
    app = build(
        deployment="support",
        store=store,
        controller=controller,
        tokens=secrets.prepare(folder),
        allowed_hosts=["127.0.0.1"],
    )
    client = TestClient(app, base_url="http://127.0.0.1", headers={"Authorization": "Bearer op"})
    assert client.post("/api/v1/promote", json={}).status_code == 403
    assert client.post("/api/v1/rollback", json={"reason": "bad replies"}).json()["epoch"] == 7
    assert controller.calls == [("rollback", By("somebody", "bad replies"), (None, False))]


def test_commands_reach_the_controller_with_actor_and_reason(
    api: TestClient, controller: FakeController, folder: Path
) -> None:
    api.headers.update(bearer(folder, "operator"))
    for verb in COMMANDS:
        assert api.post(f"/api/v1/{verb}", json={"reason": "because"}).status_code == 200
    api.post("/api/v1/rollback", json={"to": "support-a", "suspend_data": True})
    api.post("/api/v1/adapt", json={"overrides": {"selection": {"enabled": False}}})
    assert [call[0] for call in controller.calls] == [*COMMANDS, "rollback", "adapt"]
    assert all(call[1] == By("operator", "because") for call in controller.calls[: len(COMMANDS)])
    assert controller.calls[-2][2] == ("support-a", True)
    assert controller.calls[-1][2] == {"selection": {"enabled": False}}


def test_faults_are_json_with_a_named_reason(api: TestClient, controller: FakeController, folder: Path) -> None:
    api.headers.update(bearer(folder, "operator"))
    controller.refuse["rollback"] = Refused("nothing_to_roll_back", "identity serves: there is nothing below it")
    answer = api.post("/api/v1/rollback", json={})
    assert (answer.status_code, answer.json()["reason"]) == (409, "nothing_to_roll_back")
    malformed = api.post("/api/v1/rollback", json={"too": "support-a"})
    assert malformed.status_code == 422 and "body.too" in malformed.json()["message"]
    outside = api.post("/api/v1/rollback", json={"to": "../../etc"})
    assert outside.status_code == 422 and "etc" not in outside.text

    def broken() -> Any:
        raise RuntimeError("a secret detail")

    controller.status = broken
    answer = api.get("/api/v1/status")
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal")
    assert "secret detail" not in answer.text

    def away() -> Any:
        raise Unreachable("agent r0 does not answer")

    controller.status = away
    assert api.get("/api/v1/status").status_code == 503


def test_health_is_open_and_other_hosts_are_refused(api: TestClient, controller: FakeController) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").status_code == 200
    controller.ready = Readiness(False, "log_unavailable")
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": "log_unavailable"})
    assert "homeostat_test_total 1.0" in api.get("/metrics").text
    assert api.get("/healthz", headers={"Host": "evil.example"}).status_code == 400


def test_the_trainer_claims_and_reports(api: TestClient, controller: FakeController, folder: Path) -> None:
    api.headers.update(bearer(folder, "trainer"))
    assert api.post("/api/v1/trainer/claim", json={"worker": "w"}).status_code == 204
    controller.jobs.append({"job_id": "j1"})
    assert api.post("/api/v1/trainer/claim", json={"worker": "w"}).json() == {"job_id": "j1"}
    report = {"kind": "progress", "worker": "w", "attempt": 1, "step": 3, "steps": 9}
    assert api.post("/api/v1/trainer/jobs/wanted", json=report).json() == {"continue": True}
    assert api.post("/api/v1/trainer/jobs/other", json=report).json() == {"continue": False}
    assert controller.reports[0][1]["step"] == 3
    assert api.post("/api/v1/trainer/jobs/wanted", json={"kind": "odd"}).status_code == 422


def test_events_page_and_why_reaches_the_alarm(api: TestClient, store: Store, folder: Path) -> None:
    with store.begin() as tx:
        say: dict[str, Any] = {"actor": "controller", "deployment": "support"}
        ledger.append(tx, kind="alarm", subject="a1", reason="confirmed", at=1.0, **say)
        ledger.append(tx, kind="cycle", subject="c1", reason="alarm", at=2.0, data={"alarm": "a1"}, **say)
        ledger.append(tx, kind="buffer", subject="d1", reason="selected", at=3.0, data={"cycle": "c1", "n": 3}, **say)
        ledger.append(tx, kind="version", subject="v1", reason="trained", at=4.0, data={"buffer": "d1"}, **say)
        ledger.append(tx, kind="version", subject="v2", reason="trained", at=5.0, data={"buffer": "d2"}, **say)
        buffers.add(tx, Buffer("d1", "support", "default", "a1", {}, 3.0), [Item("x1", "new", "kept", "agreed")])
        units.append(tx, [units.Unit("r1", 0, "s", "i", "canary", 0.1, True, False, 1.0)], [])
    api.headers.update(bearer(folder, "operator"))
    first = api.get("/api/v1/events", params={"limit": 2}).json()
    assert [entry["subject"] for entry in first] == ["a1", "c1"]
    assert [e["subject"] for e in api.get("/api/v1/events", params={"after": first[-1]["id"]}).json()] == [
        "d1",
        "v1",
        "v2",
    ]
    story = [entry["subject"] for entry in api.get("/api/v1/why/v1").json()]
    assert story == ["a1", "c1", "d1", "v1"]
    assert "v1" in [entry["subject"] for entry in api.get("/api/v1/why/x1").json()]
    assert api.get("/api/v1/why/nothing").json()["reason"] == "unknown_subject"
    assert api.get("/api/v1/buffers/d1").json()["items"][0]["reason"] == "agreed"
    assert api.get("/api/v1/rollouts/r1/units").json()["units"][0]["arm"] == "canary"
