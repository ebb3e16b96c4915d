"""What ``homeostat init`` finds out and writes: a config that works in observe beside what runs already.

It only asks: one GET of the server's model list, one look for the brokers. It writes into the home folder alone.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon import secrets
from daemon.config import FILE_NAME, Config, parse_config
from daemon.config_docs import render
from daemon.faults import ConfigError, MachineFault, Refused, Unreachable
from deploy.vllm.launch import MAX_CPU_LORAS, adapter_slots
from monitors.season import DAY_S

TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator said."""

    home: Path
    base_url: str | None
    alias: str | None
    kafka: tuple[str, ...]
    force: bool


@dataclass(frozen=True, slots=True)
class Served:
    """One line of a server's model list."""

    name: str
    root: str | None
    parent: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """Names that a server gives its base."""

    alias: str
    base_name: str
    base_dir: Path | None
    second_name_missing: bool
    """Whether the server knows the base by one name only; then it must be restarted before leaving observe."""


@dataclass(frozen=True, slots=True)
class Written:
    """What there is now and what the operator should know."""

    config: Path
    gateway: Path
    notes: tuple[str, ...]


def list_models(base_url: str) -> list[Served]:
    """What a server serves. Raises Unreachable (nobody answers, or not a model list)."""
    url = f"{base_url.rstrip('/').removesuffix('/v1')}/v1/models"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            document: Any = json.load(response)
        return [Served(str(m["id"]), m.get("root"), m.get("parent")) for m in document["data"]]
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            problem = "it wants an API key, which init does not have: leave out --base-url and give --alias"
        else:
            problem = "give --base-url of an OpenAI-compatible server"
        raise Unreachable(f"{url} answered {error.code}: {problem}") from error
    except (OSError, ValueError) as error:
        raise Unreachable(f"no server answers at {url} ({error}): start it, or give another --base-url") from error
    except (KeyError, TypeError) as error:
        raise Unreachable(f"{url} gave no model list: is it an OpenAI-compatible server?") from error


def choose(models: Sequence[Served], alias: str | None) -> Found:
    """Alias and base name from a model list. Raises ConfigError when the alias is not served."""
    bases = [model for model in models if model.parent is None]
    names = [model.name for model in bases]
    if not bases:
        raise ConfigError("the server lists no base model: start it with one")
    if alias is not None and alias not in names:
        raise ConfigError(f"--alias: the server serves {', '.join(names)}, not {alias!r}: choose one of these")
    chosen = next((model for model in bases if model.name == alias), bases[0])
    others = [m.name for m in bases if m.name != chosen.name and m.root == chosen.root]
    root = Path(chosen.root) if chosen.root else None
    folder = root if root is not None and root.is_absolute() and root.is_dir() else None
    return Found(chosen.name, others[0] if others else f"{chosen.name}-base", folder, not others)


def reachable(broker: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = broker.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def init_home(wish: Wish) -> Written:
    """Write homeostat.yaml, gateway.json and the keys. Raises Refused (a config is there), Unreachable, ConfigError."""
    path = wish.home / FILE_NAME
    if path.exists() and not wish.force:
        raise Refused("config_exists", f"{path} is there already: give another --home, or --force to write it anew")
    found = choose(list_models(wish.base_url), wish.alias) if wish.base_url else None
    if wish.kafka and not any(reachable(broker) for broker in wish.kafka):
        raise Unreachable(f"no broker answers at {', '.join(wish.kafka)}: start Kafka, or give other --kafka host:port")
    chosen = _chosen(wish, found)
    hint = "# A line that begins with # and no space holds a default: take the # away to change it."
    text = f"{hint}\n{render(Config, chosen)}\n"
    config = parse_config(text, path)
    try:
        wish.home.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        gateway = wish.home / "gateway.json"
        gateway.write_text(json.dumps(gateway_options(config), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise MachineFault(f"{error.filename or wish.home}: {error.strerror}: give this user write access") from error
    secrets.prepare(config.secrets)
    return Written(path, gateway, tuple(_notes(found, config, gateway)))


def _chosen(wish: Wish, found: Found | None) -> dict[str, Any]:
    alias = found.alias if found is not None else wish.alias or "support"
    deployment: dict[str, Any] = {
        "name": _slug(alias),
        "alias": alias,
        "base_name": found.base_name if found is not None else f"{alias}-base",
    }
    if found is not None and found.base_dir is not None:
        deployment["base_dir"] = str(found.base_dir)
    chosen: dict[str, Any] = {"mode": "observe", "deployment": deployment}
    if wish.base_url:
        chosen["agent"] = {"replicas": [{"name": "replica-0", "url": wish.base_url.rstrip("/").removesuffix("/v1")}]}
    # Beside real traffic an evening must not look like drift, and a day without a watch is a small price.
    chosen["monitors"] = {"reference_span_s": DAY_S}
    chosen["log"] = {"kind": "kafka", "bootstrap": list(wish.kafka)} if wish.kafka else {"kind": "sqlite"}
    return chosen


def _slug(alias: str) -> str:
    """A deployment's name from an alias: the last part of a path, lower case, dashes."""
    last = alias.rstrip("/").rsplit("/", 1)[-1].lower()
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in last).strip("-")[:50] or "support"


def gateway_options(config: Config) -> dict[str, Any]:
    """What the gateways of this host read: gateway.json."""
    deployment, log = config.deployment, config.log
    names = {"name": deployment.name, "alias": deployment.alias, "tenant": deployment.tenant}
    return {
        "deployments": [names | {"base_name": deployment.base_name}],
        "route_file": str(config.route_file),
        "off_file": str(config.home / "gateway.off"),
        "log": log.model_dump(mode="json", exclude_defaults=True) | {"path": str(log.path)},
        "feedback_key_file": str(config.secrets / "feedback.key"),
        "salt_file": str(config.secrets / "salt"),
        "control_token_file": str(config.secrets / "control.token"),
    }


def _notes(found: Found | None, config: Config, gateway: Path) -> list[str]:
    names, log = f"{config.deployment.alias} {config.deployment.base_name}", config.log
    notes = [
        "the server must load the gateway, which records traffic and takes feedback: start it as\n"
        f"  HOMEOSTAT_GATEWAY={gateway.resolve()} vllm serve MODEL --served-model-name {names} "
        "--middleware deploy.gateway.app.Gateway\n"
        "  and, for every mode but observe, with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment and\n"
        f"  --enable-lora --max-loras {adapter_slots(config.holdback.own_anchor)} --max-cpu-loras {MAX_CPU_LORAS} "
        f"--max-lora-rank {config.deployment.max_rank}"
    ]
    if found is None:
        notes.append("no --base-url was given: no server was looked at and none is in the config")
    elif found.second_name_missing:
        notes.append(
            f"the server knows the base as {found.alias} only; in observe that is enough, every other mode asks the "
            f"base as {found.base_name}"
        )
    if log.kind == "sqlite":
        notes.append(f"events go through {log.path}: give --kafka host:port to use Kafka")
    else:
        notes.append(
            f"observe creates no topics: make {', '.join(log.topics.read)} if they are not there, with equal partition "
            "counts (every other mode makes what is missing)"
        )
    notes.append(
        "monitors.reference_span_s is a day: so long prompts and rewards are learned and not watched, and a week also "
        "tells weekends apart"
    )
    return notes
