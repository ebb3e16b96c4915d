"""Config and persons of an episode: short durations and few units, so that a rollout fits into it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from daemon.api.ports import By
from daemon.config import Config, parse_config
from streams.config import JoinConfig

ME: Final = By("tester", "because")
JOIN: Final = JoinConfig(window_s=40.0, lateness_s=2.0, idle_s=5.0)
SETTINGS: Final = """
mode: {mode}
home: /episode
deployment: {{base_dir: base}}
agent: {{replicas: [{{name: replica-0, url: "http://127.0.0.1:1"}}]}}
rollout:
  share_small: 0.3
  share_probation: 0.8
  alpha: 0.45
  margin_small: 0.5
  margin_half: 0.4
  min_units_per_arm: 2
  maturity_s: 4.0
  lateness_s: 1.0
  lease_s: 12.0
  deadline_s: 120.0
  probation_units: 8
  probation_s: 40.0
  kill_errors: 4
  kill_sessions: 2
cycle:
  min_labels: 4
  min_selected: 2
  label_deadline_s: 30.0
  slice_refit_s: 10.0
  history_s: 1000.0
  cooldown_s: 5.0
  reward_grace_s: 5.0
  job_lease_s: 16.0
"""


@cache
def config_of(mode: str) -> Config:
    """Short durations and few units, so that a rollout fits into an episode."""
    return parse_config(SETTINGS.format(mode=mode), Path("/episode/homeostat.yaml"))


@cache
def rollout_settings(mode: str) -> dict[str, Any]:
    """As a rollout's row holds them."""
    return config_of(mode).rollout.model_dump(mode="json")
