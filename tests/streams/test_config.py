"""Options: what is refused, and that security reaches Kafka's client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streams.alignment import Alignment
from streams.config import KafkaSecurity, LogConfig, Topics
from streams.errors import LogMisconfigured


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "redis"},
        {"kindd": "sqlite"},
        {"queue_max": 0},
        {"topics": {"traffic": "a b"}},
        {"topics": {"traffic": "same", "feedback": "same"}},
        {"security": {"protocol": "SASL_SSL"}},
        {"security": {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u"}},
    ],
)
def test_wrong_options_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LogConfig.model_validate(section)


@pytest.mark.slow
def test_security_reaches_the_client(tmp_path: Path) -> None:
    from streams.kafka_client import client_options

    (tmp_path / "password").write_text("s3cret\n")
    security = KafkaSecurity(
        protocol="SASL_SSL",
        mechanism="SCRAM-SHA-512",
        username="homeostat",
        password_file=tmp_path / "password",
        ca_file=tmp_path / "ca.pem",
    )
    options = client_options(LogConfig(kind="kafka", security=security))
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_plain_password"] == "s3cret"
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "homeostat")
    assert options["ssl_cafile"] == str(tmp_path / "ca.pem")
    assert options["ssl_check_hostname"] is True
    assert "s3cret" not in repr(security)


@pytest.mark.slow
def test_an_unreadable_password_file_is_the_users_to_mend(tmp_path: Path) -> None:
    from streams.kafka_client import client_options

    security = KafkaSecurity(protocol="SASL_SSL", mechanism="PLAIN", username="u", password_file=tmp_path / "none")
    with pytest.raises(LogMisconfigured, match="password_file"):
        client_options(LogConfig(kind="kafka", security=security))


def test_topics_that_are_read() -> None:
    assert Topics().read == ("homeostat.traffic", "homeostat.feedback")


A, B, C = ("traffic", 0), ("feedback", 0), ("feedback", 1)


def test_a_partition_far_ahead_of_one_that_has_more_waits() -> None:
    alignment = Alignment(align_s=60)
    alignment.read(A, 1_000.0, now=1.0)
    alignment.read(B, 1_061.0, now=1.0)
    assert alignment.ahead({A, B}, now=1.0) == {B}
    alignment.read(A, 1_001.0, now=2.0)
    assert alignment.ahead({A, B}, now=2.0) == frozenset()


def test_nobody_waits_for_a_partition_that_is_read_up_or_stalled() -> None:
    alignment = Alignment(align_s=60)
    alignment.read(A, 1_000.0, now=1.0)
    alignment.read(B, 9_000.0, now=4.0)
    assert alignment.ahead({B}, now=4.0) == frozenset()
    assert alignment.ahead({A, B}, now=4.0) == {B}
    assert alignment.ahead({A, B}, now=7.0) == frozenset()
    assert alignment.ahead({C}, now=4.0) == frozenset()
