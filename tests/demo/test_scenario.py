"""The whole scenario over real HTTP and the real command line, with small stand-ins for server and daemon."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import orjson
import pytest
from aiohttp.test_utils import TestServer
from rich.console import Console

from daemon.demo.base import Base
from daemon.demo.behaviour import UsersConfig
from daemon.demo.children import Children
from daemon.demo.daemon_client import DaemonClient, Watcher
from daemon.demo.figures import DemoFigures
from daemon.demo.gateway_client import GatewayClient
from daemon.demo.home import Home, daemon_config, gateway_config, log_config, write_home
from daemon.demo.journal import Journal
from daemon.demo.mix import Mix, even
from daemon.demo.options import DemoOptions, Script
from daemon.demo.scenario import play
from daemon.demo.screen import Screen
from daemon.demo.stand import Stand
from daemon.demo.users import Users
from daemon.demo.worlds import Scene
from tests.demo.fake_daemon import FakeDaemon
from tests.demo.fake_gateway import FakeGateway, TinyWorld

USERS = UsersConfig(users=200, rate=400.0, delay_median_s=0.02, delay_p99_s=0.1, concurrency=8)
SCRIPT = Script(
    users=USERS, quiet_exchanges=100, scenario_s=40.0, measure_rate=50.0, load_before_s=0.2, load_after_s=0.5
)


def run(tmp_path: Path, stuck: bool = False, unroutes: bool = True, script: Script = SCRIPT) -> tuple[DemoFigures, str]:
    world = TinyWorld()
    right = {q.text: q.right for desk in world.questions.values() for q in desk}
    old = {q.text: q.right for desk in world.old_desks for q in world.questions[desk]}
    gateway = FakeGateway(answers=dict(old))
    daemon = FakeDaemon(gateway, right, stuck=stuck, unroutes=unroutes)
    said = io.StringIO()

    async def main() -> DemoFigures:
        async with TestServer(gateway.app()) as server, TestServer(daemon.app()) as api:
            urls = [str(one.make_url("")).rstrip("/") for one in (server, api)]
            home = Home(tmp_path / "home", urls[0], urls[1])
            log = log_config(home, None, "x")
            write_home(home, daemon_config(home, log, tmp_path, Path("python")), gateway_config(home, log), [])
            (home.root / "secrets" / "operator.token").write_text("operator\n")
            client = DaemonClient(home.api_url, "operator")
            async with GatewayClient(home.server_url, "control") as users_client:
                scene, mix, journal = Scene(world, [], tmp_path / "world", 1), Mix(even(world.old_desks)), Journal()
                users = Users(users_client, "support", scene, mix, journal, script.users, 1)
                watcher, screen = Watcher(client), Screen(Console(file=said, width=200))
                children = Children(tmp_path / "logs")
                sleeper = await children.start("server", ["sleep", "600"])
                stand = Stand(
                    DemoOptions(), script, scene, Base(tmp_path, 10.0, True), home, tmp_path, children, sleeper,
                    sleeper, users_client, watcher, users, mix, journal, screen,
                )  # fmt: skip
                watcher.start()
                try:
                    return await play(stand)
                finally:
                    await screen.stop()
                    await watcher.stop()
                    await client.close()
                    await children.stop()

    return asyncio.run(main()), said.getvalue()


def names(figures: DemoFigures) -> set[str]:
    return {f.split(":")[0] for f in figures.failures}


@pytest.mark.slow
def test_from_drift_to_rollback(tmp_path: Path) -> None:
    figures, said = run(tmp_path)
    # three questions a desk are all that this world has: the counts of questions are what cannot hold
    assert names(figures) <= {"new_desk_n", "old_desks_n", "old_desks_loss"}, figures.failures
    assert figures.alarms.before == 0 and figures.alarms.kind == "input" and figures.alarms.delay_exchanges
    assert figures.new_desk.before == 0.0 and figures.new_desk.after == 1.0
    assert figures.old_desks.before == figures.old_desks.after == 1.0
    assert figures.rollback.failed == 0 and figures.rollback.dispatched_after_ack == 0
    assert figures.rollback.ms is not None and figures.rollback.requests > 50
    assert figures.corrections_used and figures.tfidf_baseline is not None
    assert {"quiet", "alarm", "training", "gate", "canary_10", "canary_50", "measure_new", "rollback"} <= set(
        figures.stages
    )
    assert figures.seconds == pytest.approx(sum(figures.stages.values()), abs=2.0)
    assert "rolled back to" in said
    document = orjson.loads(orjson.dumps(figures.model_dump()))
    assert {"ok", "seconds", "base_seconds", "alarms", "new_desk", "old_desks", "rollback", "stages"} <= set(document)


@pytest.mark.slow
def test_a_rollback_that_is_only_said_is_found_out(tmp_path: Path) -> None:
    figures, _ = run(tmp_path, unroutes=False)
    assert "rollback_after_ack" in names(figures)
    assert figures.rollback.dispatched_after_ack and figures.rollback.dispatched_after_ack > 1


@pytest.mark.slow
def test_no_promotion_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    figures, _ = run(tmp_path, stuck=True, script=SCRIPT.model_copy(update={"scenario_s": 22.0}))
    assert not figures.ok and {"scenario", "alarm_of_right_kind", "new_desk_after", "rollback_ms"} <= names(figures)
    assert "a promotion" in figures.failures[0]
    assert figures.new_desk.after is None and figures.rollback.ms is None
