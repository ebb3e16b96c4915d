"""The whole config: one YAML file, every section optional, unknown keys refused with the nearest valid one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from adapters.policy import SelectionPolicy
from adapters.training_config import TrainingConfig
from daemon.config_errors import explain
from daemon.cycle import CycleConfig
from daemon.faults import ConfigError, MachineFault
from daemon.sections import (
    AgentSection,
    ApiConfig,
    DeploymentConfig,
    HoldbackConfig,
    LabelsConfig,
    LearningConfig,
    Mode,
    RetentionConfig,
    Section,
    StoreConfig,
    TrainerConfig,
)
from deploy.rollout import RolloutConfig
from monitors.gate import GateConfig
from monitors.watch_config import WatchConfig
from streams.config import DecodeLimits, JoinConfig, LogConfig

FILE_NAME = "homeostat.yaml"


class Config(Section):
    """Options of one deployment's daemon."""

    mode: Mode = "observe"
    """What the daemon may do by itself. observe: reads, writes to nobody; propose: trains and gates, a person approves
    the canary; canary: a person approves the promotion; auto: everything, within the rollout's rules."""
    home: Path = Path(".")
    """Folder of everything that is kept; relative to this file."""
    deployment: DeploymentConfig = DeploymentConfig()
    log: LogConfig = LogConfig()
    decode: DecodeLimits = DecodeLimits()
    join: JoinConfig = JoinConfig()
    store: StoreConfig = StoreConfig()
    agent: AgentSection = AgentSection()
    api: ApiConfig = ApiConfig()
    trainer: TrainerConfig = TrainerConfig()
    monitors: WatchConfig = WatchConfig()
    selection: SelectionPolicy = SelectionPolicy()
    training: TrainingConfig = TrainingConfig()
    learning: LearningConfig = LearningConfig()
    gate: GateConfig = GateConfig()
    cycle: CycleConfig = CycleConfig()
    labels: LabelsConfig = LabelsConfig()
    rollout: RolloutConfig = RolloutConfig()
    holdback: HoldbackConfig = HoldbackConfig()
    retention: RetentionConfig = RetentionConfig()

    @model_validator(mode="after")
    def _enough_for_the_mode(self) -> Config:
        if self.mode == "observe":
            return self
        if not self.agent.replicas:
            raise ValueError(f"mode {self.mode} serves versions, so agent.replicas must name at least one server")
        if self.deployment.base_dir is None:
            raise ValueError(f"mode {self.mode} trains on the base, so deployment.base_dir must name its folder")
        if self.training.rank > self.deployment.max_rank:
            raise ValueError(
                f"training.rank is {self.training.rank}, but deployment.max_rank is {self.deployment.max_rank}: "
                "lower the rank, or raise max_rank and start the servers with --max-lora-rank to match"
            )
        return self

    @model_validator(mode="after")
    def _text_outlives_its_feedback(self) -> Config:
        needed = max(self.join.window_s, self.rollout.maturity_s) + self.join.lateness_s
        if self.retention.prompts_days * 86400.0 <= needed:
            raise ValueError(
                f"retention.prompts_days is {self.retention.prompts_days:g}, but feedback counts for {needed:g} s "
                f"(join.window_s, rollout.maturity_s): keep text for more than {needed / 86400.0:.3g} days"
            )
        return self

    @property
    def store_url(self) -> str:
        """URL of the store."""
        return self.store.url or f"sqlite:///{self.home / 'store.db'}"

    @property
    def artifacts(self) -> Path:
        """Folder of versions, buffers and staging."""
        return self.home / "artifacts"

    @property
    def secrets(self) -> Path:
        """Folder of keys and tokens."""
        return self.home / "secrets"

    @property
    def route_file(self) -> Path:
        """The route file of this host."""
        return self.home / "route.json"


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config in ``path``, its relative paths made absolute (home below the file, the rest below home).

    ``overrides`` are top-level values that win over the file's. Raises ConfigError naming line, key, what was expected,
    what came and the nearest valid key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is not there: write one with `homeostat init`, or name another with --config or --home"
        ) from None
    except OSError as error:
        raise MachineFault(f"{path} cannot be read: {error.strerror}: give this user read access to it") from error
    return parse_config(text, path, overrides)


def parse_config(text: str, path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """``load_config`` of a text. ``path`` is named in errors and is what ``home`` is relative to."""
    try:
        loaded: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise ConfigError(f"{where}: not YAML: {getattr(error, 'problem', error)}") from error
    if loaded is not None and not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected sections such as `mode:` and `log:`, got a {type(loaded).__name__}")
    values = _without_empty({**cast("dict[str, Any]", loaded or {}), **(overrides or {})}, Config)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, text, path)) from error
    return _absolute(config, path.resolve().parent)


def _without_empty(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Sections with nothing but comments in them are as good as absent."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        field = model.model_fields.get(key)
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            kept[key] = value
        elif value is not None:
            kept[key] = _without_empty(cast("dict[str, Any]", value), annotation) if isinstance(value, dict) else value
    return kept


def _absolute(config: Config, folder: Path) -> Config:
    home = (folder / config.home.expanduser()).resolve()
    base_dir = config.deployment.base_dir
    deployment = config.deployment.model_copy(
        update={"base_dir": None if base_dir is None else (home / base_dir.expanduser()).resolve()}
    )
    log = config.log.model_copy(update={"path": home / config.log.path})
    learning = config.learning.model_copy(update={"anchors_file": home / config.learning.anchors_file})
    return config.model_copy(update={"home": home, "deployment": deployment, "log": log, "learning": learning})
