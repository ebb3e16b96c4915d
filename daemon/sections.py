"""Sections of the config whose owner is this room. The others lie beside their owners; ``config`` joins them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,50}$")]
Mode = Literal["observe", "propose", "canary", "auto"]


class Section(BaseModel):
    """Immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DeploymentConfig(Section):
    """The public model name that is kept fitted to its traffic."""

    name: Name = "support"
    """Name of the deployment; its versions are called ``<name>-<12 hex digits>``."""
    alias: Annotated[str, Field(min_length=1, max_length=200)] = "support"
    """What clients send as ``model``. Also a served name of the base, so that traffic passes without any route."""
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")] = "default"
    """Whose data this is; examples of another tenant never train a version of it."""
    base_name: Annotated[str, Field(min_length=1, max_length=200)] = "support-base"
    """Another served name of the base, under which the daemon itself asks it; it must differ from the alias."""
    base_dir: Path | None = None
    """Folder of the base model's files (config.json, tokenizer, weights). Needed by every mode but observe."""
    max_rank: Annotated[int, Field(ge=1, le=512)] = 64
    """Largest LoRA rank that the servers have room for (``--max-lora-rank`` of vLLM)."""

    @field_validator("base_name")
    @classmethod
    def _differs(cls, base_name: str, info: object) -> str:
        alias = getattr(info, "data", {}).get("alias")
        if base_name == alias:
            raise ValueError(f"a name that differs from the alias {alias!r}: start the server with both names")
        return base_name


class ReplicaConfig(Section):
    """One inference server."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
    """Name in logs, proofs and status."""
    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+$")]
    """Where it listens, without a path: http://127.0.0.1:8000."""


class AgentSection(Section):
    """Servers on this host, for which the daemon is the agent."""

    replicas: tuple[ReplicaConfig, ...] = ()
    """Replicas that serve the deployment; at least one in every mode but observe."""

    @field_validator("replicas")
    @classmethod
    def _distinct(cls, replicas: tuple[ReplicaConfig, ...]) -> tuple[ReplicaConfig, ...]:
        for what in ("name", "url"):
            values = [getattr(replica, what) for replica in replicas]
            if len(set(values)) != len(values):
                raise ValueError(f"replicas with different {what}s, got {', '.join(values)}")
        return replicas


class StoreConfig(Section):
    """Where the daemon keeps what it knows."""

    url: str | None = None
    """SQLAlchemy URL. None: store.db in the home folder. PostgreSQL: postgresql+psycopg://user@host/name."""
    synchronous: Literal["full", "normal"] = "full"
    """SQLite only. full: an intent is on the disk before its effect; normal may lose seconds in a power cut."""


class ApiConfig(Section):
    """The HTTP API that the command line, the trainer and Prometheus use."""

    host: str = "127.0.0.1"
    """Address to listen on. All routes but health and metrics need a token; put TLS in front off loopback."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8377
    """TCP port."""
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Host names that requests may carry; others are refused, which stops DNS rebinding."""

    @property
    def url(self) -> str:
        """Where clients on this machine find it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class TrainerConfig(Section):
    """The process that trains. It takes its jobs from the API, so it may run anywhere that shares the home folder."""

    kind: Literal["child", "external", "none"] = "child"
    """child: `homeostat run` starts it; external: somebody runs `homeostat trainer`; none: nothing is trained."""
    python: Path = Path(sys.executable)
    """Interpreter of an environment with torch and peft; the daemon's own has neither."""
    backoff_s: Annotated[float, Field(gt=0)] = 1.0
    """Seconds before the first restart of a child that died; doubled at each one."""
    backoff_max_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest wait before a restart; a child that lived this long starts anew at the short one."""


class LearningConfig(Section):
    """When to look, and what to learn from besides feedback."""

    tick_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Seconds between two ticks of the controller: a tick costs a millisecond, a lease must be renewed in time."""
    schedule: str | None = None
    """Crontab line (local time) at which to adapt without an alarm, as in "0 3 * * *"; None: only for alarms."""
    anchors_file: Path = Path("anchors.jsonl")
    """At most 500 examples (lines of {"prompt", "reply"}) that no version may forget. A missing file means none."""

    @field_validator("schedule")
    @classmethod
    def _crontab(cls, schedule: str | None) -> str | None:
        if schedule is not None and len(schedule.split()) != 5:
            raise ValueError('five crontab fields, as in "0 3 * * *" (every night at three)')
        return schedule


class LabelsConfig(Section):
    """Asking people for labels: after a rollback, where a verdict is out of reach, where too few came."""

    deadline_s: Annotated[float, Field(gt=0)] = 86400.0
    """Seconds that a request stays open; then what waited for it goes on without. A day has everybody's working
    hours in it."""
    most: Annotated[int, Field(ge=1, le=1000)] = 50
    """Unrated exchanges that are listed at a time: as many as a person rates in one sitting."""
    per_identity: Annotated[int, Field(ge=1)] = 3
    """Exchanges of one user among them, as everywhere a user counts."""


class HoldbackConfig(Section):
    """A standing holdback: sessions that stay on a frozen version, so that `homeostat lift` can say what all
    promotions together are worth."""

    share: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    """Share of sessions that are held back once something was promoted; 0.01 to 0.02 measures a lasting effect in
    weeks. 0: off, because those sessions do without every improvement, which is for the operator to choose."""
    anchor: str | None = None
    """Version that serves them: one that was promoted and is not denied. None: the identity version, which answers as
    the base does. It takes an adapter slot of the servers more: `--max-loras 5`."""

    @property
    def own_anchor(self) -> bool:
        """Whether a version of its own must be resident, beside identity, champion, previous and candidate."""
        return self.share > 0.0 and self.anchor is not None


class RetentionConfig(Section):
    """How long what people wrote is kept. Ids, figures, rewards and decisions stay, so that lineage holds."""

    prompts_days: Annotated[float, Field(gt=0, le=3650)] = 30.0
    """Days until the text of an exchange is blanked, and with it what was said of it. Longer than feedback counts
    (`join.window_s`, `rollout.maturity_s`): what comes later has no text to be held against."""
    every_s: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds between two sweeps."""
