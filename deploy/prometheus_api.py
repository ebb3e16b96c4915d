"""Prometheus over HTTP: one instant query, one answer, a bounded wait. Whatever goes wrong is an answer with a name.

API: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import orjson

from deploy.kill_query import Answer

TIMEOUT_S: Final = 5.0
"""Of a whole query. One that takes longer is too slow to be a kill switch."""
LARGEST: Final = 1 << 20
"""Bytes of an answer that are read: thousands of series. Aggregate in the query instead."""
REFUSALS: Final = frozenset({"bad_data", "execution"})
"""``errorType`` of Prometheus that says something about the query. Its others pass by themselves, and without one the
answer is somebody else's: an ingress, a proxy, a page where a person logs in.
"""


class Prometheus:
    """Asks one server. Thread-safe; a connection a query, because looks are seconds apart."""

    def __init__(
        self,
        url: str,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._timeout_s, self._transport = url.rstrip("/"), timeout_s, transport
        self._monotonic = monotonic

    def ask(self, query: str) -> Answer:
        """The newest values of an instant query. Raises nothing."""
        form = {"query": query, "timeout": f"{self._timeout_s:g}s"}
        until = self._monotonic() + self._timeout_s
        try:
            with (
                httpx.Client(timeout=self._timeout_s, transport=self._transport, trust_env=False) as http,
                http.stream("POST", f"{self._url}/api/v1/query", data=form) as answer,
            ):
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST:
                        return Answer(missing="too_long", message="more than 1 MiB of series: aggregate in the query")
                    if self._monotonic() > until:
                        return _late(self._timeout_s)
                return read_answer(answer.status_code, bytes(body))
        except httpx.TimeoutException:
            return _late(self._timeout_s)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer(missing="unreachable", message=f"{type(error).__name__}: {error}")


def _late(timeout_s: float) -> Answer:
    return Answer(missing="timeout", message=f"no answer within {timeout_s:g} s")


def read_answer(status: int, body: bytes) -> Answer:
    """What an answer of the query route says."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    document: dict[str, Any] = found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    if status >= 300 or document.get("status") != "success":
        words = f"HTTP {status}: {document.get('error') or 'not an answer of Prometheus'}"
        refused = document.get("status") == "error" and document.get("errorType") in REFUSALS
        return Answer(missing="refused" if refused else "unreachable", message=words)
    try:
        kind, result = document["data"]["resultType"], document["data"]["result"]
        match kind:
            case "vector":
                return Answer(tuple(float(series["value"][1]) for series in result if "value" in series))
            case "scalar":
                return Answer((float(result[1]),))
            case str():
                return Answer(
                    missing="not_a_number", message=f"a {kind}, where a scalar or an instant vector is needed"
                )
            case _:
                raise TypeError(kind)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return Answer(missing="unreachable", message=f"an answer that cannot be read: {error!r}")
