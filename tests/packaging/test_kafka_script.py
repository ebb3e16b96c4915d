"""deploy/kafka/kafka.sh: what it keeps over a stop and a crash, and what it says when it cannot start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daemon.demo.ports import free_port
from streams.config import LogConfig, Topics
from streams.open_log import ensure_topics, open_source
from tests.kafka_broker import SCRIPT, Broker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def kafka_sh(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    merged = {**os.environ, **env}
    return subprocess.run(
        ["sh", str(SCRIPT), *args], capture_output=True, text=True, check=False, env=merged, timeout=120
    )


def test_one_folder_through_refusals_a_crash_and_a_stop(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "one")
    topics = Topics(traffic="kept-t", feedback="kept-f", dead_letters="kept-d")
    config = LogConfig(kind="kafka", bootstrap=(broker.bootstrap,), topics=topics, group="kept", start_timeout_s=20.0)
    broker.start()
    try:
        ensure_topics(config)
        again = kafka_sh("start", str(tmp_path / "one"), str(broker.port), "1")
        assert again.returncode == 1
        assert "runs already" in again.stderr
        taken = kafka_sh("start", str(tmp_path / "two"), str(broker.port), str(free_port()))
        assert taken.returncode == 1
        assert f"port {broker.port} in use?" in taken.stderr
        broker.kill()
        broker.start()
        open_source(config).close()  # opening makes no topic: it raises when the crash lost them
    finally:
        broker.stop()
    assert not (tmp_path / "one/broker.pid").exists()


def test_no_random_id_is_taken_for_an_option(tmp_path: Path) -> None:
    # Every 64th id of 16 random bytes would begin with a hyphen: here the bytes are those of such an id.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "base64").write_text("#!/bin/sh\necho '++++++++++++++++++++++=='\n")
    (tools / "base64").chmod(0o755)
    folder = tmp_path / "broker"
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    try:
        started = kafka_sh("start", str(folder), str(free_port()), str(free_port()), PATH=path)
        assert started.returncode == 0, started.stderr
        assert f"cluster.id={22 * '_'}" in (folder / "data/meta.properties").read_text()
    finally:
        kafka_sh("stop", str(folder))


def test_stopping_nothing_is_harmless_and_misuse_is_explained(tmp_path: Path) -> None:
    assert kafka_sh("stop", str(tmp_path)).returncode == 0
    assert "usage:" in kafka_sh("start", str(tmp_path)).stderr
    assert "which is no folder" in kafka_sh("start", str(tmp_path), "1", "2", KAFKA_JARS=str(tmp_path / "none")).stderr
