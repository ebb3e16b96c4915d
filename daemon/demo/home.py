"""The home folder of a run: homeostat.yaml, gateway.json, anchors.jsonl and the tokens that the daemon finds there.

This is what a person would write by hand after ``homeostat init``, with durations cut to the demo's minutes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import yaml

Json = dict[str, Any]

DEPLOYMENT = "support"
ALIAS = "support"
BASE_NAME = "support-base"
MATURITY_S = 15.0
"""W: seconds of feedback that belong to a unit; 99 % of the demo's feedback comes within 12."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where things of a run are."""

    root: Path
    server_url: str
    api_url: str

    @property
    def config(self) -> Path:
        """homeostat.yaml."""
        return self.root / "homeostat.yaml"

    @property
    def gateway(self) -> Path:
        """gateway.json."""
        return self.root / "gateway.json"

    @property
    def control_token(self) -> str:
        """The raw control token. Raises OSError."""
        return (self.root / "secrets" / "control.token").read_text().strip()

    @property
    def operator_token(self) -> str:
        """The raw operator token. Raises OSError."""
        return (self.root / "secrets" / "operator.token").read_text().strip()


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    """``base`` with the values of ``over``, section by section."""
    result = dict(base)
    for key, value in over.items():
        mine = result.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        result[key] = merged(cast("Json", mine), cast("Json", value)) if both else value
    return result


def write_secrets(root: Path) -> None:
    """The keys that gateway and daemon share, 0600; an existing file is kept."""
    folder = root / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("feedback.key", "salt", "control.token"):
        path = folder / name
        if not path.exists():
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32) + "\n")


def write_home(home: Home, config: Json, gateway: Json, anchors: Sequence[tuple[str, str]]) -> None:
    """Write all files of a run. Raises OSError."""
    home.root.mkdir(parents=True, exist_ok=True)
    write_secrets(home.root)
    home.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    home.gateway.write_bytes(orjson.dumps(gateway, option=orjson.OPT_INDENT_2))
    lines = [orjson.dumps({"prompt": prompt, "reply": reply}) for prompt, reply in anchors]
    (home.root / "anchors.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def gateway_config(home: Home, log: Json) -> Json:
    """gateway.json: what the middleware inside the server reads."""
    root = home.root
    return {
        "deployments": [{"name": DEPLOYMENT, "alias": ALIAS, "tenant": "demo", "base_name": BASE_NAME}],
        "route_file": str(root / "route.json"),
        "off_file": str(root / "gateway.off"),
        "log": log,
        "feedback_key_file": str(root / "secrets" / "feedback.key"),
        "salt_file": str(root / "secrets" / "salt"),
        "control_token_file": str(root / "secrets" / "control.token"),
    }


def log_config(home: Home, bootstrap: str | None, run: str) -> Json:
    """The log: a SQLite file of the home folder, or Kafka with topics of this run's own."""
    if bootstrap is None:
        return {"kind": "sqlite", "path": str(home.root / "log.db")}
    topics = {name: f"homeostat.{run}.{name.replace('_', '-')}" for name in ("traffic", "feedback", "dead_letters")}
    return {"kind": "kafka", "bootstrap": [bootstrap], "topics": topics}


def daemon_config(home: Home, log: Json, base: Path, trainer_python: Path) -> Json:
    """homeostat.yaml of the demo: the product's defaults, durations shortened, mode auto."""
    return {
        "home": str(home.root),
        "mode": "auto",
        "deployment": {
            "name": DEPLOYMENT,
            "alias": ALIAS,
            "tenant": "demo",
            "base_name": BASE_NAME,
            "base_dir": str(base),
            "max_rank": 16,
        },
        "log": log,
        "agent": {"replicas": [{"name": "replica-0", "url": home.server_url}]},
        "api": {"port": int(home.api_url.rsplit(":", 1)[1])},
        "trainer": {"python": str(trainer_python)},
        # Minutes have no evening: the watch begins with what came first.
        "monitors": {"reference_span_s": 0.0},
        "join": {"window_s": 60.0, "lateness_s": 1.0, "idle_s": 2.0},
        "cycle": {
            "min_labels": 1400,  # the hostile user's claims count as labels until selection drops them
            "min_selected": 200,
            "label_deadline_s": 72.0,  # a slow machine learns from fewer
            "slice_refit_s": 8.0,
            "history_s": 3600.0,
            "cooldown_s": 5.0,
            "reward_grace_s": 60.0,
        },
        "rollout": {
            "maturity_s": MATURITY_S,
            "lateness_s": 1.0,
            "lease_s": 5.0,
            "deadline_s": 180.0,
            "probation_units": 150,
            "probation_s": 10.0,
        },
        # A base of a few million parameters takes steps that would wreck a large one.
        "training": {"learning_rate": 5e-3, "steps": 400, "word_dropout": 0.35},
        # Questions for the gate come from hold-outs: in two minutes of traffic they are as scarce as examples.
        "selection": {"identity_age": 2, "holdout_share": 0.45, "holdout_old_max": 1040, "holdout_new_max": 220},
        # Most old questions expect an uncontradicted reply, and a tenth of those were wrong: to change one looks like a
        # loss. What is really lost is measured afterwards, with the oracle, and has a bar of its own.
        "gate": {"min_new": 150, "old_margin": 0.08},
    }
