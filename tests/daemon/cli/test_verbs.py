"""The command line against a running API: output, exit codes, and the messages of what a user gets wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import ledger
from daemon.cli.main import VERBS
from daemon.faults import Refused
from daemon.store import Store
from tests.daemon.cli.shell import Served, Shell
from tests.waiting import wait_until


def test_looks_print_lines_or_json(shell: Shell, served: Served, store: Store) -> None:
    with store.begin() as tx:
        ledger.append(tx, "support", "gate", "v1", "old_desks_worse", actor="gate", at=1.0, data={"loss": 0.0312})
    home = ("--home", str(served.home))
    assert "champion    support-aaaaaaaaaaaa" in shell("status", *home).out
    assert json.loads(shell("status", *home, "--json").out)["mode"] == "auto"
    for verb in ("versions", "rollout"):
        assert shell(verb, *home).out == "none\n"
        assert json.loads(shell(verb, *home, "--json", "--reason", "look").out) == []
    for argv, story in ((("events",), None), (("why", "v1"), "story")):
        result = shell(*argv, *home)
        assert result.code == 0
        assert "v1: old_desks_worse (by gate)  loss=0.0312" in result.out
        found = json.loads(shell(*argv, *home, "--json").out)
        assert (found[story] if story else found)[0]["data"] == {"loss": 0.0312}
    unknown = shell("why", "v9", *home)
    assert (unknown.code, unknown.err) == (1, "homeostat: the ledger knows nothing of v9\n")


def test_commands_carry_their_reason(shell: Shell, served: Served) -> None:
    config = ("--config", str(served.home / "homeostat.yaml"))
    for verb in ("promote", "approve", "abort", "pause", "resume", "adapt"):
        assert shell(verb, *config, "--reason", "because").code == 0
    result = shell("rollback", *config, "--to", "support-a", "--suspend-data", "--reason", "odd")
    assert result.out == "rolled back from support-b to support-a in 4.25 ms (epoch 7, 1 of 1 gateways)\n"
    assert json.loads(shell("rollback", *config, "--json").out)["ms"] == 4.25
    verbs = [(verb, by.reason) for verb, by, _args in served.controller.calls]
    assert verbs[:6] == [(v, "because") for v in ("promote", "approve", "abort", "pause", "resume", "adapt")]
    assert served.controller.calls[6][2] == ("support-a", True)


def test_a_refusal_is_four_with_its_reason(shell: Shell, served: Served) -> None:
    served.controller.refuse["rollback"] = Refused("nothing_to_roll_back", "identity serves: nothing is below it")
    result = shell("rollback", "--home", str(served.home), "--json")
    assert (result.code, json.loads(result.out)["reason"]) == (4, "nothing_to_roll_back")
    assert result.err == "homeostat: identity serves: nothing is below it\n"


def test_a_wrong_token_is_four(shell: Shell, served: Served) -> None:
    (served.home / "secrets/operator.token").write_text("0" * 64 + "\n")
    result = shell("status", "--home", str(served.home))
    assert result.code == 4
    assert "expected a bearer token listed in secrets/tokens.json" in result.err


def test_no_daemon_is_three(shell: Shell, served: Served, free_port: Callable[[], int]) -> None:
    (served.home / "homeostat.yaml").write_text(f"api: {{port: {free_port()}}}\n")
    result = shell("pause", "--home", str(served.home))
    assert result.code == 3
    assert "start it with `homeostat run`" in result.err


def test_before_the_first_start_the_token_is_missing(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "homeostat.yaml").write_text("mode: observe\n")
    result = shell("status", "--home", str(tmp_path))
    assert (result.code, "`homeostat run` makes it" in result.err) == (3, True)


def test_usage_is_two(shell: Shell, tmp_path: Path, served: Served) -> None:
    assert shell("dance").code == 2
    assert shell("rollback", "--too", "x").code == 2
    assert shell("status", "--home", str(tmp_path / "nowhere")).code == 2
    assert shell("adapt", "--home", str(served.home), "--overrides", "{").code == 2
    assert shell("rollback", "--home", str(served.home), "--to", "NOT A VERSION").code == 2


def home(tmp_path: Path, text: str) -> tuple[str, str]:
    (tmp_path / "homeostat.yaml").write_text(text)
    return "--home", str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("rolout: {lease_s: 5}\n", 2, "rolout: unknown key. Did you mean `rollout`?"),
        ("log: {kind: kafka, bootstrap: ['127.0.0.1:9'], start_timeout_s: 0.2}\n", 3, "127.0.0.1:9"),
        (
            "mode: auto\nagent: {replicas: [{name: a, url: 'http://127.0.0.1:9'}]}\n"
            "deployment: {base_dir: base, max_rank: 8}\n",
            2,
            "training.rank is 16, but deployment.max_rank is 8: lower the rank",
        ),
        (
            "mode: auto\nagent: {replicas: [{name: a, url: 'http://127.0.0.1:9'}]}\ndeployment: {base_dir: base}\n",
            2,
            "deployment.base_dir",
        ),
        ("store: {url: 'sqlite:////nowhere/store.db'}\n", 1, "the folder /nowhere does not exist"),
    ],
    ids=["wrong key", "broker down", "rank too large", "missing base", "missing folder"],
)
def test_a_daemon_that_cannot_start_says_what_to_do(
    shell: Shell, tmp_path: Path, free_port: Callable[[], int], text: str, code: int, message: str
) -> None:
    result = shell("run", *home(tmp_path, text + f"api: {{port: {free_port()}}}\n"))
    assert result.code == code, result.err
    assert message in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_a_taken_port_is_one_and_names_the_key(shell: Shell, tmp_path: Path, free_port: Callable[[], int]) -> None:
    with socket.socket() as other:
        port = free_port()
        other.bind(("127.0.0.1", port))
        other.listen()
        result = shell("run", *home(tmp_path, f"api: {{port: {port}}}\n"))
    assert result.code == 1
    assert f"api.port: 127.0.0.1:{port} is taken by another process" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["file/state", "/sys/homeostat"], ids=["a file in the way", "not even root may"])
def test_no_write_permission_is_one(shell: Shell, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("in the way")
    result = shell("run", *home(tmp_path, f"home: {folder}\n"))
    assert (result.code, "cannot write to" in result.err) == (1, True)


def test_help_names_every_verb(shell: Shell) -> None:
    text = shell("--help").out
    for verb in VERBS:
        assert f"  {verb.__name__} " in text


def test_the_server_answers_before_the_first_request_is_sent(served: Served, shell: Shell) -> None:
    assert wait_until(lambda: shell("status", "--home", str(served.home)).code == 0, 5.0, "the first answer")
