# pyright: standard
"""What source, sink and topic maker share of Kafka's client: options, reachability, errors in our words."""

from __future__ import annotations

import socket
import time
from typing import Any

from kafka.errors import AuthorizationError, KafkaError, KafkaTimeoutError

from streams.config import LogConfig
from streams.errors import LogMisconfigured, LogUnavailable, TopicMissing


def client_options(config: LogConfig) -> dict[str, Any]:
    """Options that every client gets. Raises LogMisconfigured when the password file cannot be read."""
    security = config.security
    options: dict[str, Any] = {
        "bootstrap_servers": list(config.bootstrap),
        "bootstrap_timeout_ms": int(config.start_timeout_s * 1000),
        "client_id": "homeostat",
        "metadata_max_age_ms": int(config.metadata_max_age_s * 1000),
        # The default of 30 s would make us the last to notice that a broker is back.
        "reconnect_backoff_max_ms": 1000,
        "security_protocol": security.protocol,
    }
    if security.protocol in ("SSL", "SASL_SSL"):
        options["ssl_check_hostname"] = security.check_hostname
        for option, file in (
            ("ssl_cafile", security.ca_file),
            ("ssl_certfile", security.cert_file),
            ("ssl_keyfile", security.key_file),
        ):
            if file is not None:
                options[option] = str(file)
    if security.protocol.startswith("SASL") and security.password_file is not None:
        try:
            password = security.password_file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise LogMisconfigured(f"log.security.password_file: a readable file expected, got {error}") from error
        options |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": password,
        }
    return options


def peer(config: LogConfig) -> str:
    """The brokers' name in messages."""
    return ",".join(config.bootstrap)


def reachable(config: LogConfig, timeout_s: float) -> bool:
    """Does any of the brokers accept a connection? Asked before a client is made, because one that fails to start
    leaves a thread behind.
    """
    for address in config.bootstrap:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
        except (OSError, ValueError):
            continue
        return True
    return False


def require_broker(config: LogConfig) -> None:
    """Wait up to ``start_timeout_s`` for a broker. Raises LogUnavailable."""
    deadline = time.monotonic() + config.start_timeout_s
    while not reachable(config, 1.0):
        if time.monotonic() >= deadline:
            raise unreachable(config)
        time.sleep(0.1)


def unreachable(config: LogConfig) -> LogUnavailable:
    """The error for brokers that do not answer."""
    return LogUnavailable(
        peer(config),
        f"no Kafka broker answered within {config.start_timeout_s:g} s",
        "Start the broker or correct log.bootstrap; without Kafka use log.kind: sqlite.",
    )


def translate(config: LogConfig, error: KafkaError) -> LogUnavailable:
    """Kafka's error as ours."""
    if isinstance(error, KafkaTimeoutError):
        return unreachable(config)
    problem = f"{type(error).__name__}: {error}"
    if isinstance(error, AuthorizationError) or "Sasl" in problem:
        return LogUnavailable(
            peer(config), problem, "Check log.security and that this user may read and write the topics of log.topics."
        )
    return LogUnavailable(peer(config), problem, "Look into the broker's log.")


def missing(config: LogConfig, topics: list[str]) -> TopicMissing:
    """The error for topics that are not there."""
    names = ", ".join(topics)
    return TopicMissing(
        peer(config),
        f"no such topic: {names}",
        f"Create {names}, or correct log.topics; homeostat creates no topics here.",
    )
