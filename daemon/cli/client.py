"""A client of the API on the standard library: a rollback must not wait for imports."""

from __future__ import annotations

import http.client
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import yaml

from daemon.faults import ConfigError, Fault, MachineFault, PeerRefused, Unreachable

HOST, PORT = "127.0.0.1", 8377
"""Defaults of the ``api`` section; a test holds them equal."""
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """Which daemon to speak to, and as whom."""

    url: str
    token: str


def target(config_file: Path) -> Target:
    """The daemon of a config file, as its operator; HOMEOSTAT_URL and HOMEOSTAT_TOKEN win over the files.

    Only ``home`` and ``api`` are read and nothing is validated: the daemon did that. Raises ConfigError, MachineFault.
    """
    url, token = os.environ.get("HOMEOSTAT_URL"), os.environ.get("HOMEOSTAT_TOKEN")
    if url and token:
        return Target(url, token)
    try:
        loaded: Any = yaml.safe_load(config_file.read_text(encoding="utf-8")) or {}
        api: dict[str, Any] = loaded.get("api") or {}
        home = config_file.resolve().parent / Path(loaded.get("home") or ".").expanduser()
    except FileNotFoundError:
        raise ConfigError(
            f"{config_file} is not there: name the daemon's config with --config or its folder with --home"
        ) from None
    except OSError as error:
        raise MachineFault(
            f"{config_file} cannot be read: {error.strerror}: give this user read access to it"
        ) from error
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise ConfigError(f"{config_file}: expected YAML sections: {error}") from error
    host = api.get("host", HOST)
    address = HOST if host in ("0.0.0.0", "::") else host
    return Target(
        url or f"http://{address}:{api.get('port', PORT)}", token or _operator(home / "secrets/operator.token")
    )


def _operator(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise Unreachable(f"{path} is not there yet: `homeostat run` makes it at its first start") from None
    except OSError as error:
        raise MachineFault(f"{path}: {error.strerror}: run this as the user who runs the daemon") from error


class Client:
    """One request a call."""

    def __init__(self, where: Target) -> None:
        self._where = where

    def get(self, path: str, **query: str | int) -> Any:
        """A look. Raises what ``_answer`` does."""
        return self._call("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """A command. Raises what ``_answer`` does."""
        return self._call("POST", path, json.dumps(body))

    def _call(self, method: str, path: str, body: str | None) -> Any:
        parts = urlsplit(self._where.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or HOST, parts.port, timeout=TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._where.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return _answer(response.status, response.read(), self._where.url)
        except TimeoutError as error:
            raise Unreachable(f"the daemon at {self._where.url} did not answer within {TIMEOUT_S:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"no daemon answers at {self._where.url} ({error}): start it with `homeostat run`, or check api.host "
                "and api.port"
            ) from error
        finally:
            connection.close()


def _answer(status: int, raw: bytes, url: str) -> Any:
    """The document of an answer. Raises PeerRefused (401, 403, 409), Unreachable (503), ConfigError (422) and Fault."""
    try:
        document: Any = json.loads(raw) if raw else None
    except ValueError:
        document = None
    if status < 400:
        return document
    body = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    message = str(body.get("message") or f"{url} answered {status}: is that a homeostat?")
    if status in (401, 403, 409):
        raise PeerRefused(str(body.get("reason", "refused")), message)
    if status == 503:
        raise Unreachable(message)
    raise ConfigError(message) if status == 422 else Fault(message)
