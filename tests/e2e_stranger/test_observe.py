"""``homeostat init`` beside a vLLM and a Kafka that were there before: the file works in observe as it is, and neither
server is written to.

One story, told in order: init, a start without topics, events, a restart, a broker that is away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kafka import KafkaAdminClient, KafkaProducer

from streams.codec import encode_exchange, encode_feedback
from streams.config import LogConfig, Topics
from streams.events import Trust
from streams.open_log import ensure_topics
from tests.daemon.events import exchange, feedback
from tests.deploy.serving import Home, Server
from tests.e2e_stranger.shell import Result, daemon, homeostat
from tests.kafka_broker import Broker, free_port
from tests.vllm_server import requests_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.kafka, pytest.mark.slow]


@dataclass(frozen=True)
class Stranger:
    """Somebody with a vLLM and a Kafka."""

    server: Server
    broker: Broker
    home: Path
    init: Result
    before: dict[str, Any]

    def outside(self) -> dict[str, Any]:
        """Everything that homeostat could have changed outside its folder."""
        admin: Any = KafkaAdminClient(bootstrap_servers=[self.broker.bootstrap])
        try:
            topics = {name for name in admin.list_topics() if not name.startswith("homeostat.")}
            groups = sorted(str(group) for group in admin.list_groups())
            ours = sorted(name for name in admin.list_topics() if name.startswith("homeostat."))
        finally:
            admin.close()
        models = httpx.get(f"{self.server.url}/v1/models", timeout=30.0, trust_env=False).json()["data"]
        return {"topics": topics, "groups": groups, "ours": ours, "models": [model["id"] for model in models]}


@pytest.fixture(scope="module")
def stranger(
    plain_vllm: tuple[Home, Server], broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stranger]:
    """After ``homeostat init``."""
    server, home = plain_vllm[1], tmp_path_factory.mktemp("stranger") / "home"
    found = Stranger(server, broker, home, Result(0, "", ""), {})
    before = found.outside()
    init = homeostat("init", "--home", home, "--base-url", server.url, "--kafka", broker.bootstrap)
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        taken = True
        try:
            client.get("http://127.0.0.1:8377/healthz")
        except httpx.HTTPError:
            taken = False
    if taken:  # somebody else's homeostat runs on this machine: the one line that a user would change, too
        config = home / "homeostat.yaml"
        config.write_text(config.read_text().replace("#port: 8377", f"port: {free_port()}"))
    yield Stranger(server, broker, home, init, before)


def events(first: int, count: int, *, judged: bool) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """(session, event) for traffic and for feedback, as a gateway and a backend of the stranger's write them."""
    now = time.time()
    asked = [
        exchange(n, received_at=now, dispatched_at=now, completed_at=now + 0.1) for n in range(first, first + count)
    ]
    said = [
        feedback(n, f"x{n}", session=f"s{n}", trust=Trust.PRODUCER, sent_at=now + 0.2) for n in range(first, first + 9)
    ]
    traffic = [(e.session, encode_exchange(e, "/gateway/other")) for e in asked]
    return traffic, [(f.session or "", encode_feedback(f, "/backend")) for f in said] if judged else []


def produce(broker: Broker, first: int, count: int, *, judged: bool) -> None:
    """Events on the topics, by a producer that is not ours."""
    traffic, judgements = events(first, count, judged=judged)
    producer: Any = KafkaProducer(bootstrap_servers=[broker.bootstrap])
    for topic, found in (("homeostat.traffic", traffic), ("homeostat.feedback", judgements)):
        for key, value in found:
            producer.send(topic, value=value, key=key.encode())
    producer.flush(30.0)
    producer.close()


def test_the_server_is_a_strangers(stranger: Stranger) -> None:
    """Else what follows would show nothing."""
    assert stranger.before["models"] == ["support"]
    for method, path in (("GET", "/homeostat/gateway"), ("POST", "/v1/load_lora_adapter")):
        reply = httpx.request(method, stranger.server.url + path, json={}, timeout=30.0, trust_env=False)
        assert reply.status_code == 404


def test_init_asks_once_and_explains_every_field(stranger: Stranger) -> None:
    assert (stranger.init.code, stranger.init.err) == (0, "")
    assert "HOMEOSTAT_GATEWAY=" in stranger.init.out and "next: homeostat run --config" in stranger.init.out
    assert "--enable-lora" in stranger.init.out
    text = (stranger.home / "homeostat.yaml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert loaded["mode"] == "observe"
    assert loaded["deployment"]["alias"] == "support"
    assert loaded["log"]["bootstrap"] == [stranger.broker.bootstrap]
    assert loaded["agent"]["replicas"] == [{"name": "replica-0", "url": stranger.server.url}]
    lines = text.splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if line.strip().partition(":")[0].lstrip("#").isidentifier()
        and ":" in line
        and not line.strip().startswith("# ")
        and not above.strip().startswith(("# ", "- "))
    ]
    assert bare == [], "every key has its explanation above it"
    assert "# url: Where it listens" in text, "and so have those of the items of a list"
    gets = [line for line in requests_of(stranger.server) if "load_lora" not in line and "homeostat" not in line]
    assert set(gets) == {"GET /v1/models"}


def test_without_topics_it_waits_and_says_so(stranger: Stranger) -> None:
    """The stranger's Kafka has no such topics yet, and to make them would be to write."""
    with daemon(stranger.home) as running:
        found = running.status()
        assert found["mode"] == "observe"
        (trouble,) = found["troubles"]
        assert (trouble["where"], trouble["reason"]) == ("log", "topic_missing")
        assert "homeostat.feedback" in trouble["message"] and "Create" in trouble["message"]
        shown = homeostat("status", "--home", stranger.home).out
        assert "TROUBLE     log: topic_missing" in shown
        assert stranger.outside() == stranger.before
        ensure_topics(LogConfig(kind="kafka", bootstrap=(stranger.broker.bootstrap,), topics=Topics()))
        wait_until(lambda: running.look()["troubles"] == [], 20.0, "the topics to be found")
        produce(stranger.broker, 0, 40, judged=True)
        wait_until(lambda: running.counts().get("joined", 0) == 9, 30.0, "the feedback to be joined")
        assert (running.counts()["exchanges"], running.counts()["feedback"]) == (40, 9)
        shown = homeostat("status", "--home", stranger.home).out
        assert "mode observe" in shown and "exchanges=40" in shown
        refused = homeostat("adapt", "--home", stranger.home, "--json")
        assert refused.code == 4 and '"reason": "mode_observe"' in refused.out
        assert running.stop() == 0


def test_a_broker_that_is_down_at_start_costs_nothing(stranger: Stranger) -> None:
    """Exit code 3 with the address; later every event is counted, and none twice."""
    produce(stranger.broker, 100, 20, judged=False)
    stranger.broker.stop()
    try:
        config = stranger.home / "homeostat.yaml"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("#start_timeout_s: 10.0", "start_timeout_s: 0.5"), encoding="utf-8")
        down = homeostat("run", "--home", stranger.home)
        config.write_text(text, encoding="utf-8")
    finally:
        stranger.broker.start()
    assert down.code == 3 and "Traceback" not in down.err
    assert stranger.broker.bootstrap in down.err and "Start the broker or correct log.bootstrap" in down.err
    with daemon(stranger.home) as running:
        wait_until(lambda: running.counts()["exchanges"] == 60, 30.0, "what was written meanwhile")
        assert running.counts().get("duplicates", 0) == 0
        assert running.stop() == 0


def test_neither_server_was_written_to(stranger: Stranger) -> None:
    """Last: topics are those that the stranger made, no group has offsets, vLLM was asked for its models alone."""
    after = stranger.outside()
    assert after["ours"] == ["homeostat.dead-letters", "homeostat.feedback", "homeostat.traffic"]
    assert after == stranger.before | {"ours": after["ours"]}
    asked = [line for line in requests_of(stranger.server) if not line.endswith(("/homeostat/gateway", "_adapter"))]
    assert set(asked) == {"GET /v1/models"}
    assert not (stranger.home / "route.json").exists() and not (stranger.home / "artifacts").exists()
