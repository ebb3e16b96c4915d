"""The files that a run writes are files that daemon and gateway read."""

from __future__ import annotations

import stat
from pathlib import Path

import orjson

from adapters.examples import read_anchors
from daemon.config import load_config
from daemon.demo.drill import DRILL_CONFIG, SELECTION_OFF, UNPROTECTED
from daemon.demo.home import Home, daemon_config, gateway_config, log_config, merged, write_home
from deploy.gateway.config import load_config as load_gateway
from deploy.gateway.config import load_secrets


def a_home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "http://127.0.0.1:8001", "http://127.0.0.1:8002")


def test_config_gateway_and_anchors_are_accepted(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    log = log_config(home, None, "x")
    write_home(
        home,
        daemon_config(home, log, tmp_path / "base", Path("/usr/bin/python3")),
        gateway_config(home, log),
        [("where is my card?", "cards: post")],
    )
    config, gateway = load_config(home.config), load_gateway(home.gateway)
    assert config.mode == "auto" and config.home == home.root
    assert config.log.path == gateway.log.path == home.root / "log.db"
    assert config.route_file == gateway.route_file
    assert config.deployment.alias == gateway.deployments[0].alias
    assert config.deployment.base_name == gateway.deployments[0].base_name
    assert config.deployment.tenant == gateway.deployments[0].tenant
    assert load_secrets(gateway).control_token == home.control_token
    assert read_anchors(config.learning.anchors_file)[0].reply == "cards: post"
    for secret in (home.root / "secrets").iterdir():
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_the_drills_config_is_accepted_and_differs(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    plain = daemon_config(home, log_config(home, None, "x"), tmp_path / "base", Path("/usr/bin/python3"))
    write_home(home, merged(plain, DRILL_CONFIG), gateway_config(home, {"kind": "sqlite"}), [])
    config = load_config(home.config)
    assert config.training.steps == DRILL_CONFIG["training"]["steps"]
    assert config.training.learning_rate == plain["training"]["learning_rate"]
    assert config.gate == type(config.gate)(**plain.get("gate", {}))


def test_the_drills_overrides_are_settings_that_exist(tmp_path: Path) -> None:
    from daemon.buffer_build import Overrides

    home = a_home(tmp_path)
    plain = daemon_config(home, log_config(home, None, "x"), tmp_path / "base", Path("/usr/bin/python3"))
    write_home(home, plain, gateway_config(home, {"kind": "sqlite"}), [])
    config = load_config(home.config)
    assert Overrides.parse(config, SELECTION_OFF).selection.enabled is False
    assert Overrides.parse(config, UNPROTECTED).training.kl_weight == 0.5


def test_kafka_topics_are_of_this_run_alone(tmp_path: Path) -> None:
    first, second = (log_config(a_home(tmp_path), "127.0.0.1:9092", run) for run in ("a", "b"))
    assert first["bootstrap"] == ["127.0.0.1:9092"]
    assert not set(first["topics"].values()) & set(second["topics"].values())


def test_secrets_are_kept_by_a_second_start(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    write_home(home, {}, {}, [])
    before = home.control_token
    write_home(home, {}, {}, [])
    assert home.control_token == before
    assert orjson.loads(home.gateway.read_bytes()) == {}
