"""Options of the gateway: one JSON file, written by the daemon, named by ``HOMEOSTAT_GATEWAY``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streams.config import LogConfig

VARIABLE: Final = "HOMEOSTAT_GATEWAY"


class GatewayConfigError(ValueError):
    """The gateway's file is missing or wrong: the fault of whoever wrote it."""


class Section(BaseModel):
    """Immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServedDeployment(Section):
    """One public model name of this server."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,50}$")]
    """The deployment's name; its versions are called ``<name>-<12 hex digits>``."""
    alias: Annotated[str, Field(min_length=1, max_length=200)]
    """What clients send as ``model``; also a served name of the base, so that traffic passes without any route."""
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")] = "default"
    base_name: Annotated[str, Field(min_length=1, max_length=200)]
    """Another served name of the base: what an exchange records as its version when no adapter answered."""


class CaptureConfig(Section):
    """Bounds of what is kept of traffic. Nothing here is on the request path but one append to a queue."""

    enabled: bool = True
    """Off: routes and tokens only, nothing is written to the log."""
    queue_max: Annotated[int, Field(ge=1)] = 10_000
    """Exchanges waiting for the background thread; more are dropped and counted: a slow disk must not slow replies."""
    queue_max_bytes: Annotated[int, Field(ge=1 << 16)] = 64 << 20
    """Bytes of those exchanges, for the same reason: long prompts fill memory long before they fill a count."""
    max_response_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Bytes kept of one response; what comes after it reaches the client but not the log."""
    token_ids: bool = True
    """Ask the server for the ids of the reply's tokens: free for it, and the only exact record of what was said."""
    logprob_sample: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of whole (not streamed) replies whose log-probabilities are asked for; each token costs the server 58 us.
    """


class GatewayConfig(Section):
    """The whole file. Relative paths are below the folder of the file."""

    deployments: Annotated[tuple[ServedDeployment, ...], Field(min_length=1)]
    host: Annotated[str, Field(min_length=1, max_length=200)] = "local"
    """Name of this replica; the source of its events is ``/gateway/<host>``."""
    route_file: Path = Path("route.json")
    artifacts: Path = Path("artifacts")
    """Folder of the versions on this host, the agent's own: the pairs of a version that shows examples are read there.
    """
    off_file: Path = Path("gateway.off")
    """While this file exists every request passes untouched: the switch for whoever suspects the gateway."""
    log: LogConfig = LogConfig()
    feedback_key_file: Path = Path("secrets/feedback.key")
    salt_file: Path = Path("secrets/salt")
    control_token_file: Path = Path("secrets/control.token")
    capture: CaptureConfig = CaptureConfig()
    poll_ms: Annotated[int, Field(ge=1, le=50)] = 25
    """Milliseconds between two looks at route file and off-switch; 50 at most, so that a flip without push is seen."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 << 20
    """A longer request passes untouched and is counted: to route it, the gateway would have to hold it."""
    token_ttl_s: Annotated[float, Field(gt=0)] = 7 * 86_400.0
    """Seconds in which a reply may be judged; the joiner's window is usually shorter."""
    accept_bare: bool = True
    """Accept feedback without a token at the lowest weight. A wrong token is refused either way."""
    hot_key_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """A session key with more of the traffic than this is many people under one name and is not used."""
    hot_key_window: Annotated[int, Field(ge=100, le=1_000_000)] = 4096
    """Requests over which that share is counted: 41 of them make a key hot."""
    open_paths: tuple[str, ...] = ()
    """Further paths of the server that need no control token, for servers that offer more than chat and completions."""

    @model_validator(mode="after")
    def _distinct(self) -> GatewayConfig:
        names = [n for d in self.deployments for n in (d.alias, d.base_name)]
        if len(set(names)) != len(names):
            raise ValueError(f"aliases and base names must all differ, got {', '.join(names)}")
        return self

    def below(self, folder: Path) -> GatewayConfig:
        """The same options with relative paths below ``folder``."""
        fields = ("route_file", "artifacts", "off_file", "feedback_key_file", "salt_file", "control_token_file")
        paths = {name: folder / getattr(self, name) for name in fields}
        return self.model_copy(update={**paths, "log": self.log.model_copy(update={"path": folder / self.log.path})})


class Secrets(Section):
    """What the key files hold. Never logged."""

    feedback_key: bytes
    salt: bytes
    control_token: str


def load_config(path: Path) -> GatewayConfig:
    """The options in ``path``. Raises GatewayConfigError naming the field and what to do."""
    try:
        return GatewayConfig.model_validate_json(path.read_bytes()).below(path.resolve().parent)
    except OSError as fault:
        raise GatewayConfigError(f"gateway config {path} cannot be read ({fault.strerror}); set {VARIABLE}") from fault
    except ValidationError as fault:
        raise GatewayConfigError(f"gateway config {path} is not valid: {fault}") from fault


def load_secrets(config: GatewayConfig) -> Secrets:
    """The three secrets. Raises GatewayConfigError naming the file; ``homeostat init`` makes them."""
    return Secrets(
        feedback_key=_key(config.feedback_key_file),
        salt=_line(config.salt_file).encode(),
        control_token=_line(config.control_token_file),
    )


def _line(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as fault:
        raise GatewayConfigError(f"{path} cannot be read ({fault.strerror}); make it with `homeostat init`") from fault
    if not text:
        raise GatewayConfigError(f"{path} is empty; delete it and make it anew with `homeostat init`")
    return text


def _key(path: Path) -> bytes:
    """The key as its file has it, for daemon and gateway alike: the hex digits themselves, not the bytes they spell."""
    text = _line(path)
    if re.fullmatch(r"[0-9a-fA-F]{64,}", text) is None:
        raise GatewayConfigError(f"{path}: at least 64 hex digits expected; delete it and make it anew")
    return text.encode()
