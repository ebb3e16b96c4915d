"""The config: what a person gets wrong, what the defaults are, and the file that explains itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from daemon.cli import client
from daemon.config import Config, load_config, parse_config
from daemon.config_docs import field_docs, render
from daemon.config_errors import section_in
from daemon.faults import ConfigError
from daemon.sections import ApiConfig

SERVED = "agent: {replicas: [{name: a, url: 'http://127.0.0.1:1'}]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api:\n  prot: 1\n", "home.yaml:2: api.prot: unknown key. Did you mean `port`?"),
        ("modus: auto\n", "home.yaml:1: modus: unknown key. Did you mean `mode`?"),
        ("xyz: 1\n", "home.yaml:1: xyz: unknown key. Valid here: mode, home, deployment"),
        ("mode: fast\n", "home.yaml:1: mode: expected 'observe', 'propose', 'canary' or 'auto', got 'fast'"),
        ("rollout:\n  lease_s: -1\n", "home.yaml:2: rollout.lease_s: expected greater than 0, got -1"),
        ("\napi: {port: [1]}\n", "home.yaml:2: api.port: expected integer, got [1]"),
        ("agent:\n  replicas:\n    - name: a\n", "home.yaml:3: agent.replicas.0.url: missing"),
        (
            "agent:\n  replicas: [{name: a, ulr: 'http://x'}]\n",
            "agent.replicas.0.ulr: unknown key. Did you mean `url`?",
        ),
        ("mode: auto\n", "mode auto serves versions, so agent.replicas must name at least one server"),
        (f"mode: auto\n{SERVED}\n", "mode auto trains on the base, so deployment.base_dir must name its folder"),
        (
            f"mode: auto\n{SERVED}\ndeployment: {{base_dir: base, max_rank: 8}}\ntraining: {{rank: 16}}\n",
            "training.rank is 16, but deployment.max_rank is 8: lower the rank",
        ),
        ("deployment: {alias: a, base_name: a}\n", "deployment.base_name: expected a name that differs from the alias"),
        ("learning: {schedule: nightly}\n", 'expected five crontab fields, as in "0 3 * * *"'),
        (
            "rollout:\n  prometheus_url: http://p\n  kill_queries:\n    - {name: a, query: up, abov: 1}\n",
            "home.yaml:4: rollout.kill_queries.0.abov: unknown key. Did you mean `above`?",
        ),
        (
            "rollout: {kill_queries: [{name: a, query: up, above: 1}]}\n",
            "rollout: expected prometheus_url beside kill_queries",
        ),
        (
            "retention: {prompts_days: 0.04}\n",
            "retention.prompts_days is 0.04, but feedback counts for 3605 s (join.window_s, rollout.maturity_s): "
            "keep text for more than 0.0417 days",
        ),
        ("mode: [auto\n", "home.yaml:2: not YAML"),
        ("- mode\n", "expected sections such as `mode:` and `log:`, got a list"),
    ],
)
def test_mistakes_are_named_with_line_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, Path("home.yaml"))
    assert message in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write one with `homeostat init`"):
        load_config(tmp_path / "homeostat.yaml")


def test_paths_are_below_home_and_home_is_below_the_file(tmp_path: Path) -> None:
    text = "home: state\ndeployment: {base_dir: base}\nlog:\napi:\n"
    config = parse_config(text, tmp_path / "homeostat.yaml")
    home = tmp_path / "state"
    assert (config.home, config.deployment.base_dir, config.log.path) == (home, home / "base", home / "log.db")
    assert (config.mode, config.store_url) == ("observe", f"sqlite:///{home}/store.db")
    assert config.learning.anchors_file == home / "anchors.jsonl"


def test_overrides_win(tmp_path: Path) -> None:
    config = parse_config("home: a\n", tmp_path / "homeostat.yaml", {"home": str(tmp_path / "b")})
    assert config.home == tmp_path / "b"


def test_the_written_file_is_the_default_config_and_explains_every_field() -> None:
    text = render(Config, {})
    assert parse_config(text, Path("/x/homeostat.yaml")) == parse_config("", Path("/x/homeostat.yaml"))
    everything = re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)
    assert everything.count("\n# ") > 10 and "\n#" not in everything.replace("\n# ", "")
    assert parse_config(everything, Path("/x/homeostat.yaml")) == parse_config("", Path("/x/homeostat.yaml"))


def undocumented(model: type[BaseModel], path: str = "") -> list[str]:
    """Dotted names of fields without a word."""
    docs, missing = field_docs(model), list[str]()
    for name, field in model.model_fields.items():
        inner = section_in(field.annotation)
        if inner is not None:
            missing += undocumented(inner, f"{path}{name}.")
        elif not docs.get(name):
            missing.append(path + name)
    return missing


def test_every_field_of_this_room_is_documented() -> None:
    mine = {"mode", "home", "deployment", "store", "agent", "api", "trainer", "learning", "holdback", "retention"}
    mine |= {"policy", "labels", "cycle", "rollout"}
    assert [name for name in undocumented(Config) if name.split(".")[0] in mine] == []


def test_the_clients_defaults_are_the_daemons() -> None:
    api = ApiConfig()
    assert (api.host, api.port) == (client.HOST, client.PORT)


def test_chosen_values_stand_uncommented() -> None:
    chosen: dict[str, Any] = {"mode": "auto", "log": {"kind": "kafka", "bootstrap": ["k:9092"]}}
    loaded = yaml.safe_load(render(Config, chosen))
    assert loaded["mode"] == "auto"
    assert loaded["log"] == {"kind": "kafka", "bootstrap": ["k:9092"], "topics": None, "security": None}
