"""One inference server over HTTP: vLLM or the built-in one, the same routes. Synchronous; owned by whoever calls it.

A load that answers 200 proves nothing (``deploy.proof`` does); a version is a new name and a new path for ever, so a
load is done once and an unload only after nothing was routed to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.driver_errors import (
    ControlRefused,
    DriverError,
    LoadRejected,
    LoraDisabled,
    NotFinite,
    RankTooLarge,
    RouteRefused,
    ServerFailed,
    UnknownModel,
    Unreachable,
)
from deploy.routes import RouteFile
from deploy.vllm.launch import adapter_slots

TIMEOUT_S: Final = 30.0
"""A first request with log-probabilities compiles kernels on some servers: it took 18 s on CPU."""
QUICK_S: Final = 2.0
CONTROL: Final = "x-homeostat-control"


@dataclass(frozen=True, slots=True)
class Completion:
    """Greedy continuation of a prompt."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural logarithms, one a token."""
    text: str


class Driver:
    """Speaks to one server."""

    def __init__(self, url: str, control_token: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=8)
        self._http = httpx.Client(
            base_url=self.url, headers={CONTROL: control_token}, timeout=timeout_s, limits=limits, trust_env=False
        )

    def close(self) -> None:
        """Release connections; idempotent."""
        self._http.close()

    def models(self) -> frozenset[str]:
        """Names that the server answers to. Raises DriverError."""
        body = self._json(self._send("GET", "/v1/models", timeout=QUICK_S))
        try:
            return frozenset(str(card["id"]) for card in body["data"])
        except (KeyError, TypeError) as error:
            raise ServerFailed(f"{self.url}/v1/models: expected a list of models, got {body!r:.200}") from error

    def load(self, version: str, path: Path) -> None:
        """Load an adapter under its name; loading what is loaded is no error. Raises DriverError."""
        answer = self._send("POST", "/v1/load_lora_adapter", json={"lora_name": version, "lora_path": str(path)})
        if answer.status_code < 300 or "already been loaded" in answer.text:
            return
        raise self._load_error(version, answer)

    def unload(self, version: str) -> None:
        """Forget an adapter; forgetting what is not there is no error. Raises DriverError."""
        answer = self._send("POST", "/v1/unload_lora_adapter", json={"lora_name": version})
        if answer.status_code >= 300 and "cannot be found" not in answer.text:
            raise self._load_error(version, answer)

    def complete(self, model: str, prompt_ids: Sequence[int], max_tokens: int) -> Completion:
        """Greedy continuation with the log-probability of each token. Raises DriverError."""
        body = self._json(
            self._send(
                "POST",
                "/v1/completions",
                json={
                    "model": model,
                    "prompt": list(prompt_ids),
                    "max_tokens": max_tokens,
                    "temperature": 0,
                    "logprobs": 0,
                    "return_token_ids": True,
                },
            ),
            model,
        )
        try:
            choice = body["choices"][0]
            ids = tuple(int(i) for i in choice["token_ids"])
            logs = tuple(float(x) for x in choice["logprobs"]["token_logprobs"])
        except (KeyError, IndexError, TypeError) as error:
            raise ServerFailed(f"{self.url}: expected token ids and log-probabilities, got {body!r:.200}") from error
        return Completion(ids, logs, str(choice.get("text", "")))

    def say(self, model: str, messages: Sequence[dict[str, str]], max_tokens: int) -> Completion:
        """Greedy reply to a conversation, with the log-probability of each token. Raises DriverError."""
        body = self._json(
            self._send(
                "POST",
                "/v1/chat/completions",
                json={
                    "model": model,
                    "messages": list(messages),
                    "max_tokens": max_tokens,
                    "temperature": 0,
                    "logprobs": True,
                    "return_token_ids": True,
                },
            ),
            model,
        )
        try:
            choice = body["choices"][0]
            ids = tuple(int(i) for i in choice["token_ids"])
            logs = tuple(_number(token["logprob"]) for token in choice["logprobs"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise ServerFailed(f"{self.url}: expected token ids and log-probabilities, got {body!r:.200}") from error
        return Completion(ids, logs, str(choice["message"]["content"] or ""))

    def chat(
        self, model: str, messages: Sequence[dict[str, str]], max_tokens: int, *, must_be_finite: bool = False
    ) -> str:
        """Greedy reply to a conversation; ``must_be_finite`` looks at its log-probabilities too. Raises DriverError."""
        request: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        body = self._json(
            self._send("POST", "/v1/chat/completions", json=request | ({"logprobs": True} if must_be_finite else {})),
            model,
        )
        try:
            choice = body["choices"][0]
            if must_be_finite:
                _look_finite(model, choice)
            return str(choice["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as error:
            raise ServerFailed(f"{self.url}: expected a chat completion, got {body!r:.200}") from error

    def alive(self) -> bool:
        """Whether the server answers; ``/health`` alone can be 200 on a dead engine, so proofs ask for tokens."""
        try:
            return self._send("GET", "/health", timeout=QUICK_S).status_code < 500
        except DriverError:
            return False

    def push_route(self, route: RouteFile) -> None:
        """Hand the gateway its new route; it is in force when this returns. Raises RouteRefused and DriverError."""
        content = route.model_dump_json().encode()
        answer = self._send("PUT", "/homeostat/route", content=content, timeout=QUICK_S)
        if answer.status_code == 409:
            raise RouteRefused(f"{self.url} holds a newer route than epoch {route.epoch}: {answer.text[:200]}")
        self._json(answer)

    def tell_proved(self, versions: Sequence[str]) -> None:
        """Tell the gateway which versions are proved here: without its champion the replica is not ready."""
        self._json(self._send("PUT", "/homeostat/proved", json=sorted(versions), timeout=QUICK_S))

    def gateway(self) -> dict[str, Any]:
        """The gateway's own state. Raises DriverError; ControlRefused where no gateway is loaded."""
        return self._json(self._send("GET", "/homeostat/gateway", timeout=QUICK_S))

    def in_flight(self) -> int:
        """Requests in flight over all versions, 0 when the gateway does not say."""
        try:
            found: dict[str, dict[str, float]] = self.gateway().get("versions", {})
            return int(sum(one["in_flight"] for one in found.values()))
        except (DriverError, AttributeError, KeyError, TypeError):
            return 0

    def _send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        wait = httpx.USE_CLIENT_DEFAULT if timeout is None else timeout
        try:
            return self._http.request(method, path, json=json, content=content, timeout=wait)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"{self.url}{path} does not answer ({type(error).__name__}): is the server up?"
            ) from error

    def _json(self, answer: httpx.Response, model: str | None = None) -> dict[str, Any]:
        if answer.status_code == 404 and model is not None:
            raise UnknownModel(f"{self.url} has no version {model}: load it first")
        if answer.status_code in (401, 403, 404):
            raise ControlRefused(
                f"{self.url}{answer.request.url.path} answered {answer.status_code}: is the gateway loaded "
                "(--middleware deploy.gateway.app.Gateway) and does it have this daemon's control token?"
            )
        if answer.status_code >= 300:
            raise ServerFailed(f"{self.url}{answer.request.url.path}: {answer.status_code} {answer.text[:200]}")
        try:
            return dict(answer.json())
        except (ValueError, TypeError) as error:
            raise ServerFailed(f"{self.url}: expected JSON, got {answer.text[:200]!r}") from error

    def _load_error(self, version: str, answer: httpx.Response) -> DriverError:
        text = _words(answer)
        if answer.status_code in (401, 403):
            return ControlRefused(f"{self.url}: the control token was refused")
        no_route = answer.status_code in (404, 405) and "lora" not in text.lower()
        if no_route or "lora is not enabled" in text.lower():
            return LoraDisabled(
                f"{self.url} cannot load adapters ({answer.status_code} {text}): start vLLM with --enable-lora "
                f"--max-loras {adapter_slots()} --max-lora-rank RANK and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its "
                "environment"
            )
        if "rank" in text.lower():
            return RankTooLarge(
                f"{self.url} refused {version}: {text}. Lower training.rank, or start the server with a larger "
                "--max-lora-rank"
            )
        return LoadRejected(f"{self.url} refused {version}: {answer.status_code} {text}")


def _number(value: Any) -> float:
    """Not a number comes as null."""
    return math.nan if value is None else float(value)


def _look_finite(model: str, choice: dict[str, Any]) -> None:
    """Raises NotFinite. What cannot be written as JSON comes as null, or as a server error of its own."""
    told: dict[str, Any] = choice.get("logprobs") or {}
    found: list[Any] = [token["logprob"] for token in told.get("content") or ()]
    if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in found):
        raise NotFinite(f"{model}: a log-probability of its reply is not a finite number")


def _words(answer: httpx.Response) -> str:
    """What a server says in an error: the message of OpenAI's format, else the start of the body."""
    try:
        return str(answer.json()["error"]["message"])[:400]
    except (ValueError, KeyError, TypeError):
        return answer.text[:400]


__all__ = ["Completion", "Driver", "DriverError"]
