"""What users get wrong, at a real shell: a message that says what was expected, what came and what to do, the exit
code of its kind, no traceback, and nothing lost.

0 done, 1 failed (this machine), 2 usage, 3 unreachable, 4 refused.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.demo.ports import free_port
from tests.conftest import ROOT, VENVS
from tests.deploy.serving import Home, Server
from tests.e2e_stranger.shell import HOMEOSTAT, Result, daemon, environment, homeostat, run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ACTING = "mode: auto\nagent: {replicas: [{name: replica-0, url: 'http://127.0.0.1:9'}]}\n"


def home(folder: Path, text: str) -> Path:
    """A folder with this config on a port of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "homeostat.yaml").write_text(f"{text}api: {{port: {free_port()}}}\n", encoding="utf-8")
    return folder


@contextmanager
def listening() -> Generator[int]:
    """A port that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def without_rights(*argv: str | Path) -> Result:
    """``homeostat`` as somebody to whom permissions apply: root keeps its name and loses its privilege."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return run([*drop, HOMEOSTAT, *argv])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("monitors:\n  refrence_size: 100\n", r"homeostat\.yaml:2: monitors\.refrence_size: unknown key\. Did you"),
        ("mode: autopilot\n", r"homeostat\.yaml:1: mode: expected 'observe', 'propose', 'canary' or 'auto', got 'auto"),
        ("mode: [\n", r"homeostat\.yaml:\d+: not YAML"),
        (ACTING, r"mode auto trains on the base, so deployment\.base_dir must name its folder"),
        (f"{ACTING}deployment: {{base_dir: /nowhere/base}}\n", r"deployment\.base_dir: .*/nowhere/base"),
        (
            f"{ACTING}deployment: {{base_dir: base, max_rank: 8}}\n",
            r"training\.rank is \d+, but deployment\.max_rank is 8: lower the rank, or raise max_rank",
        ),
        ("deployment: {alias: chat, base_name: chat}\n", r"base_name: expected a name that differs from the alias"),
    ],
    ids=["key", "value", "yaml", "no base", "missing base", "rank", "names"],
)
def test_a_wrong_config_is_two_with_file_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    found = homeostat("run", "--home", home(tmp_path, text))
    assert found.code == 2
    assert re.search(message, found.err), found.err
    assert "Traceback" not in found.err + found.out


@pytest.fixture(scope="module")
def rested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder whose daemon was paused by a person and then stopped."""
    where = home(tmp_path_factory.mktemp("rested") / "home", "")
    with daemon(where) as running:
        assert homeostat("pause", "--home", where, "--reason", "holiday").code == 0
        assert running.stop() == 0
    return where


def test_a_mended_config_goes_on_where_the_last_one_was(rested: Path) -> None:
    """A daemon that refuses to start leaves store and secrets as they are."""
    where = rested
    text = (where / "homeostat.yaml").read_text()
    secrets = {path.name: path.read_bytes() for path in (where / "secrets").iterdir()}
    (where / "homeostat.yaml").write_text(text + "mod: observe\n")
    assert homeostat("run", "--home", where).code == 2
    (where / "homeostat.yaml").write_text(text)
    with daemon(where) as running:
        assert running.look()["paused"] is True
        assert running.stop() == 0
    assert {path.name: path.read_bytes() for path in (where / "secrets").iterdir()} == secrets


def test_a_taken_port_is_one_and_names_the_key(tmp_path: Path) -> None:
    with listening() as port:
        (tmp_path / "homeostat.yaml").write_text(f"api: {{port: {port}}}\n")
        found = homeostat("run", "--home", tmp_path)
    assert found.code == 1
    assert f"api.port: 127.0.0.1:{port} is taken by another process" in found.err


def test_peers_that_are_down_are_three(tmp_path: Path) -> None:
    dead = f"127.0.0.1:{free_port()}"
    broker = f"log: {{kind: kafka, bootstrap: ['{dead}'], start_timeout_s: 0.3}}\n"
    for found in (
        homeostat("run", "--home", home(tmp_path / "a", broker)),
        homeostat("init", "--home", tmp_path / "b", "--base-url", f"http://{dead}"),
        homeostat("init", "--home", tmp_path / "c", "--kafka", dead),
        homeostat("status", "--home", home(tmp_path / "d", "")),
    ):
        assert (found.code, found.out) == (3, "")
        assert dead in found.err or "`homeostat run`" in found.err
        assert "Traceback" not in found.err
    assert not (tmp_path / "b").exists() and not (tmp_path / "c").exists()


def test_no_write_permission_is_one_and_names_the_path(rested: Path) -> None:
    where = rested
    tries: Sequence[tuple[Path, int, tuple[str, ...]]] = (
        (where, 0o555, ("run", "--home", str(where))),
        (where / "store.db", 0o444, ("run", "--home", str(where))),
        (where / "log.db", 0o000, ("run", "--home", str(where))),
        (where / "secrets/feedback.key", 0o000, ("run", "--home", str(where))),
        (where / "secrets/operator.token", 0o000, ("status", "--home", str(where))),
        (where / "homeostat.yaml", 0o000, ("run", "--home", str(where))),
        (where, 0o555, ("init", "--home", str(where / "inner"))),
    )
    for path, mode, argv in tries:
        before = path.stat().st_mode
        path.chmod(mode)
        found = without_rights(*argv)
        path.chmod(before)
        assert (found.code, "Traceback" in found.err) == (1, False), (path.name, found)
        named = str(path) in found.err or path.name in found.err
        assert named and re.search(r"give|run this as|this user", found.err, re.IGNORECASE), (path.name, found.err)


def test_wrong_tokens_are_four(rested: Path) -> None:
    where = rested
    with daemon(where) as running:
        token = where / "secrets/operator.token"
        right = token.read_text()
        for wrong in ("0" * 64, "", "trainer's"):
            token.write_text((where / "secrets/trainer.token").read_text() if wrong == "trainer's" else wrong)
            for verb in ("status", "rollback"):
                found = homeostat(verb, "--home", where, "--json")
                assert found.code == 4, found
                assert '"ok": false' in found.out
                assert re.search(r"expected a bearer token|has the scopes train; this needs", found.err), found.err
        token.write_text(right)
        found = running.status()
        assert (found["mode"], found["paused"]) == ("observe", True)
        assert "rollback" not in homeostat("events", "--home", where).out
        assert running.stop() == 0


@pytest.mark.parametrize("argv", [("dance",), ("rollback", "--too", "x"), ("status", "--home", "/nowhere")])
def test_usage_is_two(argv: tuple[str, ...]) -> None:
    assert homeostat(*argv).code == 2


def test_a_model_server_that_cannot_start_says_why(tmp_path: Path, gateway_builtin: tuple[Home, Server]) -> None:
    """All at once, because each of them loads torch first."""
    keyless = tmp_path / "keyless"
    assert homeostat("init", "--home", keyless).code == 0
    (keyless / "secrets/control.token").unlink()

    with listening() as taken:
        cases: dict[str, tuple[list[str], int, str]] = {
            "port": (["--port", str(taken)], 1, rf"port {taken} of 127\.0\.0\.1 cannot be used: .*choose another"),
            "model": (["--model", "/nowhere"], 2, r"--model /nowhere: no model there \(config\.json is missing\)"),
            "secret": (
                ["--gateway", str(keyless / "gateway.json")],
                1,
                r"control\.token cannot be read .*make it with `homeostat init`",
            ),
        }
        base = [str(VENVS / "trainer/bin/python"), "-m", "deploy.servers.builtin", "--served-model-name", "support"]
        running: dict[str, subprocess.Popen[str]] = {}
        start: Callable[[list[str]], subprocess.Popen[str]] = lambda argv: subprocess.Popen(  # noqa: E731
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment()
        )
        for name, (more, _, _) in cases.items():
            defaults = ["--model", str(gateway_builtin[0].base), "--port", str(free_port())]
            running[name] = start([*base, *defaults, *more])
        for name, (_, code, message) in cases.items():
            said, _ = running[name].communicate(timeout=240)
            assert running[name].returncode == code, (name, said[-2000:])
            assert re.search(message, said) and "Traceback" not in said, (name, said[-2000:])
