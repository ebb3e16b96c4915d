"""Keys are made once and private; logs never carry what people wrote."""

from __future__ import annotations

import json
import logging as stdlib_logging
import stat
from pathlib import Path

import pytest
import structlog

from daemon import logging, secrets
from daemon.faults import ConfigError


def test_keys_are_made_once_private_and_different(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    secrets.prepare(folder)
    first = {name: secrets.read(folder, name) for name in secrets.MADE}
    secrets.prepare(folder)
    assert {name: secrets.read(folder, name) for name in secrets.MADE} == first
    assert len(set(first.values())) == len(first)
    assert all(len(bytes.fromhex(value)) == 32 for value in first.values())
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.glob(".*"))


def test_raw_tokens_are_not_in_the_token_file(tmp_path: Path) -> None:
    tokens = secrets.prepare(tmp_path)
    raw = secrets.read(tmp_path, "operator.token")
    assert raw not in (tmp_path / "tokens.json").read_text()
    principal = tokens.principal(raw)
    assert principal is not None and principal.scopes >= {"read", "operate", "admin"}
    assert tokens.principal("") is None and tokens.principal(raw + "0") is None
    trainer = tokens.principal(secrets.read(tmp_path, "trainer.token"))
    assert trainer is not None and trainer.scopes == {"train"}


def test_a_broken_token_file_says_where(tmp_path: Path) -> None:
    secrets.prepare(tmp_path)
    (tmp_path / "tokens.json").write_text('{"tokens": [{"name": "x", "sha256": "short", "scopes": ["read"]}]}')
    with pytest.raises(ConfigError, match=r"tokens\.json: tokens\.0\.sha256"):
        secrets.prepare(tmp_path)


def test_lines_are_json_with_the_rollouts_id_and_without_text(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("info")
    logging.bind_rollout("r1")
    logging.get("daemon.test").info("judged", e=21.5, prompt="my secret", messages=[{"content": "my secret"}])
    stdlib_logging.getLogger("some.library").warning("hello %s", "there")
    logging.bind_rollout(None)
    logging.get("daemon.test").info("later")
    logging.get("daemon.test").debug("unseen")
    judged, library, later = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (judged["event"], judged["rollout"], judged["e"], judged["room"]) == ("judged", "r1", 21.5, "daemon.test")
    assert "secret" not in json.dumps(judged)
    assert library["event"] == "hello there" and library["rollout"] == "r1"
    assert "rollout" not in later
    structlog.reset_defaults()
