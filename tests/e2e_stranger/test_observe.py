"""``homeostat init`` beside a vLLM and a Kafka that were there before: the file works in observe as it is, and neither
server is written to.

One story, told in order: init, a start without topics, events, a broker that is away, a restart, a client.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kafka import KafkaAdminClient, KafkaProducer

from daemon.demo.ports import free_port
from streams.codec import encode_exchange, encode_feedback
from streams.config import LogConfig, Topics
from streams.events import Trust
from streams.open_log import ensure_topics
from tests.daemon.events import exchange, feedback
from tests.deploy.serving import CHAT, Home, Server, question
from tests.e2e_stranger.proxy import gateway_before
from tests.e2e_stranger.shell import Result, daemon, homeostat
from tests.kafka_broker import Broker
from tests.vllm_server import requests_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.kafka, pytest.mark.slow]


LONG_S = 120.0
"""Ends a test that hangs; what is waited for takes a second on a machine of one's own."""
OTHERS = (("GET", "/homeostat/gateway"), ("POST", "/v1/load_lora_adapter"), ("POST", "/v1/unload_lora_adapter"))
"""Routes that only our gateway, or runtime loading of adapters, would give a server."""


@dataclass
class Stranger:
    """Somebody with a vLLM and a Kafka. ``outside`` looks are counted, so that the server's other requests show."""

    server: Server
    broker: Broker
    home: Path
    others: tuple[int, ...] = ()
    """What the server answered to ``OTHERS``, before everything else."""
    before: dict[str, Any] = field(default_factory=dict[str, Any])
    asked_before: int = 0
    looks: int = 0
    init: Result = field(default_factory=lambda: Result(-1, "", ""))

    def outside(self) -> dict[str, Any]:
        """Everything that homeostat could have changed outside its folder."""
        admin: Any = KafkaAdminClient(bootstrap_servers=[self.broker.bootstrap])
        try:
            topics = {name for name in admin.list_topics() if not name.startswith("homeostat.")}
            groups = sorted(str(group) for group in admin.list_groups())
            ours = sorted(name for name in admin.list_topics() if name.startswith("homeostat."))
        finally:
            admin.close()
        models = httpx.get(f"{self.server.url}/v1/models", timeout=LONG_S, trust_env=False).json()["data"]
        self.looks += 1
        return {"topics": topics, "groups": groups, "ours": ours, "models": [model["id"] for model in models]}

    def asked(self) -> Counter[str]:
        """Requests that reached the server since just before init, without those of ``outside``."""
        found = Counter(requests_of(self.server)[self.asked_before :])
        found["GET /v1/models"] -= self.looks
        return +found


@pytest.fixture(scope="module")
def stranger(plain_vllm: tuple[Home, Server], broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """After ``homeostat init``."""
    found = Stranger(plain_vllm[1], broker, tmp_path_factory.mktemp("stranger") / "home")
    url = found.server.url
    answers = [httpx.request(method, url + path, json={}, timeout=LONG_S, trust_env=False) for method, path in OTHERS]
    found.others = tuple(answer.status_code for answer in answers)
    found.before = found.outside()
    wait_until(lambda: requests_of(found.server)[-1:] == ["GET /v1/models"], LONG_S, "the server to log it")
    found.asked_before, found.looks = len(requests_of(found.server)), 0
    found.init = homeostat("init", "--home", found.home, "--base-url", url, "--kafka", broker.bootstrap)
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", 8377)) == 0
    if taken:  # somebody else's homeostat runs on this machine: the one line that a user would change, too
        config = found.home / "homeostat.yaml"
        config.write_text(config.read_text().replace("#port: 8377", f"port: {free_port()}"))
    return found


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
    assert stranger.before["ours"] == []
    assert stranger.others == (404,) * len(OTHERS)


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
    wait_until(lambda: stranger.asked() == {"GET /v1/models": 1}, LONG_S, "one request, for the models")


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
        wait_until(lambda: running.look()["troubles"] == [], LONG_S, "the topics to be found")
        produce(stranger.broker, 0, 40, judged=True)
        wait_until(lambda: running.counts().get("joined", 0) == 9, LONG_S, "the feedback to be joined")
        assert (running.counts()["exchanges"], running.counts()["feedback"]) == (40, 9)
        shown = homeostat("status", "--home", stranger.home).out
        assert "mode observe" in shown and "exchanges=40" in shown
        refused = homeostat("adapt", "--home", stranger.home, "--json")
        assert refused.code == 4 and '"reason": "mode_observe"' in refused.out
        assert running.stop() == 0


def test_a_broker_that_is_down_at_start_costs_nothing(stranger: Stranger) -> None:
    """Exit code 3 with the address; later every event is counted, and none twice. Then a client asks through a gateway
    with init's options, and what he says of the reply is joined to it.
    """
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
        wait_until(lambda: running.counts()["exchanges"] == 60, LONG_S, "what was written meanwhile")
        with gateway_before(stranger.server.url, stranger.home / "gateway.json") as url:
            told = ask(url)
            body = {"exchange_id": told["x-homeostat-exchange"], "token": told["x-homeostat-token"]}
            said = httpx.post(f"{url}/v1/feedback", json={**body, "kind": "thumb", "value": True}, trust_env=False)
            assert said.status_code == 202, said.text
            wait_until(lambda: running.counts().get("joined", 0) == 10, LONG_S, "its feedback to be joined")
        assert running.counts()["exchanges"] == 61 and running.counts().get("duplicates", 0) == 0
        assert running.look()["troubles"] == []
        assert running.stop() == 0


def ask(url: str) -> httpx.Headers:
    """One question of a client; the headers that its feedback needs."""
    reply = httpx.post(url + CHAT, json=question(), timeout=LONG_S, trust_env=False)
    assert reply.status_code == 200, reply.text
    return reply.headers


def test_neither_server_was_written_to(stranger: Stranger) -> None:
    """Last: topics are those that the stranger made, no group has offsets, vLLM had init's and the client's requests
    and no other.
    """
    after = stranger.outside()
    assert after["ours"] == ["homeostat.dead-letters", "homeostat.feedback", "homeostat.traffic"]
    assert after == stranger.before | {"ours": after["ours"]}
    expected = {"GET /v1/models": 1, f"POST {CHAT}": 1}
    wait_until(lambda: stranger.asked() == expected, LONG_S, f"the server's log to show {expected}")
    assert not (stranger.home / "route.json").exists()
    assert not list((stranger.home / "artifacts").rglob("*.safetensors"))
