"""``homeostat init``: what it finds, what it writes, what it refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from daemon.config import load_config
from daemon.faults import ConfigError, Refused, Unreachable
from daemon.init_home import Served, Wish, choose, init_home, list_models
from deploy.gateway.config import load_config as load_gateway


class Models(BaseHTTPRequestHandler):
    """A server that knows its models and counts what it is asked."""

    asked: ClassVar[list[tuple[str, str]]] = []
    listed: ClassVar[list[dict[str, Any]]] = [
        {"id": "chat", "root": "/models/x", "parent": None},
        {"id": "chat-base", "root": "/models/x", "parent": None},
        {"id": "chat-0123456789ab", "root": "/a", "parent": "chat"},
    ]

    def do_GET(self) -> None:
        self.asked.append(("GET", self.path))
        body = json.dumps({"data": self.listed}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Generator[str]:
    Models.asked.clear()
    http = HTTPServer(("127.0.0.1", 0), Models)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join(5.0)


def wish(home: Path, **changes: Any) -> Wish:
    values: dict[str, Any] = {"home": home, "base_url": None, "alias": None, "kafka": (), "force": False} | changes
    return Wish(**values)


def test_a_config_beside_a_server_works_as_it_is(tmp_path: Path, server: str) -> None:
    broker = server.removeprefix("http://")  # something that listens
    written = init_home(wish(tmp_path / "h", base_url=server + "/v1", kafka=(broker,)))
    config = load_config(written.config)
    assert (config.mode, config.deployment.alias, config.deployment.base_name) == ("observe", "chat", "chat-base")
    assert (config.log.kind, config.log.bootstrap) == ("kafka", (broker,))
    assert config.agent.replicas[0].url == server
    gateway = load_gateway(written.gateway)
    assert gateway.deployments[0].base_name == "chat-base"
    assert gateway.log.kind == "kafka" and gateway.control_token_file.exists()
    assert Models.asked == [("GET", "/v1/models")]
    assert all("knows the base as" not in note for note in written.notes)
    assert config.monitors.reference_span_s == 86_400.0, "an evening is not to look like drift"
    assert "604,800, a week" in " ".join(written.config.read_text().replace("# ", "").split())


def test_an_existing_config_is_kept_unless_forced(tmp_path: Path) -> None:
    init_home(wish(tmp_path))
    token = (tmp_path / "secrets/control.token").read_text()
    (tmp_path / "homeostat.yaml").write_text("mode: auto\n")
    with pytest.raises(Refused, match="is there already"):
        init_home(wish(tmp_path))
    assert (tmp_path / "homeostat.yaml").read_text() == "mode: auto\n"
    init_home(wish(tmp_path, force=True, alias="My/Model-7B"))
    assert load_config(tmp_path / "homeostat.yaml").deployment.name == "model-7b"
    assert (tmp_path / "secrets/control.token").read_text() == token


def test_names_come_from_the_servers_list() -> None:
    base = Served("m", "/models/m", None)
    lonely = choose([base], None)
    assert (lonely.alias, lonely.base_name, lonely.second_name_missing) == ("m", "m-base", True)
    two = choose([base, Served("x", "/models/m", None)], "x")
    assert (two.alias, two.base_name, two.second_name_missing) == ("x", "m", False)
    with pytest.raises(ConfigError, match="serves m, not 'y'"):
        choose([base], "y")
    with pytest.raises(ConfigError, match="no base model"):
        choose([Served("a", None, "m")], None)


def test_peers_that_do_not_answer_are_named_and_nothing_is_written(tmp_path: Path, server: str) -> None:
    with pytest.raises(Unreachable, match=r"no server answers at http://127\.0\.0\.1:9/v1/models"):
        init_home(wish(tmp_path, base_url="http://127.0.0.1:9"))
    with pytest.raises(Unreachable, match=r"no broker answers at 127\.0\.0\.1:9, nonsense"):
        init_home(wish(tmp_path, base_url=server, kafka=("127.0.0.1:9", "nonsense")))
    assert list(tmp_path.iterdir()) == []
    assert len(list_models(server)) == 3
