"""What a person may choose on the command line, and the numbers of the scenario that hang on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from daemon.demo.behaviour import UsersConfig


class DemoOptions(BaseModel):
    """Options of ``homeostat demo`` and ``homeostat drill``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: Path | None = None
    """Folder with real text; None: the project's own grammar."""
    new: str | None = None
    """Group that is the new desk; None: the last by name."""
    seed: int = 1
    server: Literal["builtin", "vllm"] = "builtin"
    log: Literal["sqlite", "kafka"] = "sqlite"
    json_path: Path | None = None
    """Where the figures go as one JSON object."""
    out: Path | None = None
    """Folder for the home folder, process logs and report.html; None: a folder below the system's temporary folder."""


class Bars(BaseModel):
    """What a run must reach; the exit code hangs on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    new_before: float = 0.20
    """Most of the new desk that may be right before: else there is nothing to learn."""
    new_after: float = 0.80
    """Least of it that must be right after promotion."""
    new_n: int = 300
    """Least replies behind both figures."""
    old_loss: float = 0.02
    """Most that the upper 95 % bound of the paired loss on the old desks may be."""
    old_n: int = 1000
    """Least questions behind it."""
    rollback_ms: float = 250.0
    """Goal for the roll-back; a bar, because the machine is not shared in a demo."""
    seconds: float = 300.0
    """Most seconds of the scenario."""
    base_seconds: float = 120.0
    """Most seconds of base training."""


REAL_TEXT = Bars(new_after=0.70, old_loss=0.03)
"""Real text is harder: fewer shapes repeat."""


VLLM_S = 840.0
"""Seconds that a scenario on vLLM's CPU build may take: its engine shares two cores with trainer, users and daemon."""


def bars_for(options: DemoOptions) -> Bars:
    """The bars that hold for a run."""
    bars = Bars() if options.corpus is None else REAL_TEXT
    return bars if options.server == "builtin" else bars.model_copy(update={"seconds": VLLM_S})


class Script(BaseModel):
    """Numbers of the scenario. Counts are exchanges or questions, times seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: UsersConfig = UsersConfig()
    quiet_exchanges: Annotated[int, Field(ge=1)] = 2200
    """Old desks only, before the new desk appears: the monitors' reference, and the test for false alarms."""
    quiet_s: Annotated[float, Field(gt=0)] = 60.0
    """Longest that the quiet phase may take."""
    rates: dict[str, float] = {"training": 50.0, "gate": 20.0}
    """Requests a second in stages whose own work needs the machine: on two cores, training slows serving."""
    new_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the new desk when it appears."""
    scenario_s: Annotated[float, Field(gt=0)] = 300.0
    """Longest wait for the promotion, counted from the start of the quiet phase."""
    measure_new: Annotated[int, Field(ge=1)] = 600
    """Held-out questions of the new desk asked through the alias after promotion."""
    measure_old: Annotated[int, Field(ge=2)] = 1000
    """Questions of the old desks asked of both versions."""
    measure_concurrency: Annotated[int, Field(ge=1)] = 16
    """Measurement requests in flight."""
    measure_rate: Annotated[float, Field(gt=0)] = 15.0
    """Users' requests a second while measurements share the machine."""
    load_before_s: Annotated[float, Field(ge=0)] = 2.0
    """Full load before the roll-back is commanded."""
    load_after_s: Annotated[float, Field(gt=0)] = 3.0
    """Full load after its acknowledgement, in which the old version must not be seen."""


def script_for(options: DemoOptions) -> Script:
    """The scenario's numbers for a run: vLLM on CPU is given fewer requests and more time."""
    script = Script()
    if options.server == "builtin":
        return script
    users = script.users.model_copy(update={"rate": 50.0})
    rates = {"training": 30.0, "gate": 15.0}
    return script.model_copy(update={"users": users, "rates": rates, "quiet_s": 150.0, "scenario_s": VLLM_S})
