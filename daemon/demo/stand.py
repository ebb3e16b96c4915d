"""Everything of a run put up and taken down again: world, base, server, daemon, users, screen."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from daemon.demo.base import Base, trained_base
from daemon.demo.children import Child, ChildFailed, Children
from daemon.demo.daemon_client import DaemonClient, Watcher
from daemon.demo.gateway_client import CONTROL_HEADER, GatewayClient
from daemon.demo.home import (
    ALIAS,
    BASE_NAME,
    Home,
    daemon_config,
    gateway_config,
    log_config,
    merged,
    write_home,
)
from daemon.demo.journal import Journal
from daemon.demo.measure import Stopwatch
from daemon.demo.mix import Mix, even
from daemon.demo.options import DemoOptions, Script
from daemon.demo.ports import free_port
from daemon.demo.screen import Look, Screen, look
from daemon.demo.users import Users
from daemon.demo.world.build import build_world
from daemon.demo.worlds import Scene, silent_of
from deploy.vllm.launch import command as vllm_command

PROJECT = Path(__file__).resolve().parents[2]
SERVER_READY_S = {"builtin": 180.0, "vllm": 300.0}
DAEMON_READY_S = 90.0
WARM_S = 120.0


class SetupError(Exception):
    """The user's: something that the run needs is not there; the message says what to do."""


@dataclass(slots=True)
class Stand:
    """A running deployment with its users. ``watch`` times the stages; ``marks`` are words on the report's axis."""

    options: DemoOptions
    script: Script
    world: Scene
    base: Base
    home: Home
    out: Path
    children: Children
    server: Child
    daemon: Child
    gateway: GatewayClient
    watcher: Watcher
    users: Users
    mix: Mix
    journal: Journal
    screen: Screen
    watch: Stopwatch = field(default_factory=Stopwatch)
    marks: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    began: float = 0.0
    began_at: float = 0.0

    def begin(self) -> None:
        """The scenario's clock starts; set-up is over."""
        self.began, self.began_at = time.monotonic(), time.time()
        self.screen.start(self.look)

    @property
    def seconds(self) -> float:
        """Seconds of the scenario so far."""
        return time.monotonic() - self.began

    def look(self) -> Look:
        """What the screen shows now."""
        new = frozenset(self.world.new_desks)
        return look(self.watcher.seen, self.journal, new, self.watch.name or "", self.seconds, time.time())

    def say(self, line: str) -> None:
        """A line that stays, with the scenario's seconds."""
        self.screen.say(f"[{self.seconds:5.0f} s] {line}")

    def mark(self, word: str) -> float:
        """Put a word on the report's time axis; returns the wall-clock time."""
        now = time.time()
        self.marks.append((now, word))
        return now

    def enter(self, stage: str, prefix: str = "") -> None:
        """A stage of the adaptation begins: its clock, the pace of the users, a mark, a line."""
        self.watch.stage(prefix + stage)
        self.users.pace(self.script.rates.get(stage, self.script.users.rate))
        self.mark(prefix + stage)
        self.say(f"stage {prefix}{stage}")

    def check(self) -> None:
        """Raise what is wrong with the run itself: a dead process, a dead user."""
        self.children.check()
        self.users.check()


def trainer_python() -> Path:
    """The interpreter with torch. Raises SetupError."""
    return _python("HOMEOSTAT_TRAINER_PYTHON", "trainer", "make env-trainer")


def _python(variable: str, name: str, remedy: str) -> Path:
    if named := os.environ.get(variable):
        return Path(named)
    found = PROJECT / ".venvs" / name / "bin" / "python"
    if not found.exists():
        raise SetupError(f"expected an interpreter at {found}: run `{remedy}` or set {variable}")
    return found


def cli(*words: str) -> list[str]:
    """The command line of the product's own command."""
    return [sys.executable, "-m", "daemon.cli.main", *words]


@asynccontextmanager
async def standing(
    options: DemoOptions,
    script: Script,
    screen: Screen,
    new_desks: int = 1,
    silent_desks: int = 0,
    over: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncGenerator[Stand]:
    """A stand that serves and is watched, with users ready to start. Raises SetupError, WorldError, ChildFailed.

    ``over`` are config values of this run, ``env`` goes to the daemon (and by it to its trainer). Whatever was started
    is stopped, last first, however the block is left.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(screen.stop)
        out = _out_folder(options)
        world = _scene(options, new_desks, silent_desks, out / "world")
        screen.say(f"world: {len(world.old_desks)} desks, new: {', '.join(world.new_desks)}; files in {out}")
        base = await _base(world, options, screen)
        children = Children(out / "logs")
        stack.push_async_callback(children.stop)
        home = Home(out / "home", f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}")
        bootstrap = await _kafka(options, children, stack, out)
        log = log_config(home, bootstrap, f"demo-{os.getpid()}-{int(time.time())}")
        config = merged(daemon_config(home, log, base.folder, trainer_python()), over or {})
        write_home(home, config, gateway_config(home, log), world.anchors)
        server = await _server(children, home, base.folder, options)
        daemon = await _daemon(children, home, env)
        await _warm(home)
        gateway = GatewayClient(
            home.server_url, home.control_token, 2 * script.users.concurrency + 8, script.users.request_timeout_s
        )
        stack.push_async_callback(gateway.close)
        client = DaemonClient(home.api_url, home.operator_token)
        stack.push_async_callback(client.close)
        watcher = Watcher(client)
        journal, mix = Journal(), Mix(even(world.present_desks))
        users = Users(gateway, ALIAS, world, mix, journal, script.users, options.seed)
        await watcher.look()
        watcher.start()
        stack.push_async_callback(watcher.stop)
        stack.push_async_callback(users.stop)
        yield Stand(
            options,
            script,
            world,
            base,
            home,
            out,
            children,
            server,
            daemon,
            gateway,
            watcher,
            users,
            mix,
            journal,
            screen,
        )


def _scene(options: DemoOptions, new_desks: int, silent_desks: int, folder: Path) -> Scene:
    world = build_world(options.corpus, options.new, options.seed, new_desks)
    return Scene(world, silent_of(world, silent_desks), folder, options.seed)


def _out_folder(options: DemoOptions) -> Path:
    if options.out is None:
        return Path(tempfile.mkdtemp(prefix="homeostat-demo-"))
    out = options.out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for stale in ("home", "logs", "world"):  # a run begins with an empty store and an empty log
            shutil.rmtree(out / stale, ignore_errors=True)
    except OSError as error:
        raise SetupError(f"cannot write to --out {out}: {error.strerror}; name another folder") from error
    return out


async def _base(world: Scene, options: DemoOptions, screen: Screen) -> Base:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=screen.console, transient=True
    )
    screen.say("base model: training it, or taking it from the cache")
    with bar:
        task = bar.add_task("training the base", total=1.0)
        base = await trained_base(
            trainer_python(),
            PROJECT,
            world.pairs_file,
            world.lines_file,
            options.seed,
            lambda done, word: bar.update(task, completed=done, description=f"training the base {word}"),
        )
    screen.say(f"base model: {'from the cache' if base.cached else 'trained'}, {base.seconds:.0f} s of training")
    return base


async def _kafka(options: DemoOptions, children: Children, stack: AsyncExitStack, out: Path) -> str | None:
    """The broker's address: a given one (HOMEOSTAT_KAFKA), or one of our own that the run stops again."""
    if options.log != "kafka":
        return None
    if given := os.environ.get("HOMEOSTAT_KAFKA"):
        return given
    script, folder, port = PROJECT / "deploy/kafka/kafka.sh", out / "kafka", free_port()

    async def stop() -> None:
        child = await children.start("kafka-stop", ["sh", str(script), "stop", str(folder)])
        await child.process.wait()

    starter = await children.start(
        "kafka-start", ["sh", str(script), "start", str(folder), str(port), str(free_port())]
    )
    code = await starter.process.wait()
    children.forget(starter)
    if code != 0:
        raise ChildFailed(f"Kafka did not start; set HOMEOSTAT_KAFKA=host:port for a running one. {starter.tail()}")
    stack.push_async_callback(stop)
    return f"127.0.0.1:{port}"


async def _server(children: Children, home: Home, base: Path, options: DemoOptions) -> Child:
    port = int(home.server_url.rsplit(":", 1)[1])
    if options.server == "vllm":
        python = _python("HOMEOSTAT_VLLM_PYTHON", "vllm", "make env-vllm")
        argv, env = vllm_command(python, base, port, ALIAS, BASE_NAME)
    else:
        argv = [str(trainer_python()), "-m", "deploy.servers.builtin", "--model", str(base)]
        argv += ["--served-model-name", ALIAS, BASE_NAME, "--port", str(port), "--gateway", str(home.gateway)]
        env = {}
    env = {**env, "HOMEOSTAT_GATEWAY": str(home.gateway), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    child = await children.start("server", argv, env)

    async def probe() -> bool:
        return await _status(f"{home.server_url}/v1/models") == 200

    await children.ready(child, probe, SERVER_READY_S[options.server], "the server answers /v1/models")
    return child


async def _warm(home: Home) -> None:
    """One request with log-probabilities: on vLLM the first one compiles a kernel and blocks everybody for seconds."""
    body = {"model": BASE_NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "logprobs": True}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WARM_S)) as session,
        session.post(
            f"{home.server_url}/v1/chat/completions", json=body, headers={CONTROL_HEADER: home.control_token}
        ) as response,
    ):
        if response.status != 200:
            raise ChildFailed(f"the server answered {response.status} to its first request: {await response.text()}")


async def _daemon(children: Children, home: Home, env: Mapping[str, str] | None) -> Child:
    # OMP_NUM_THREADS=1: the trainer shares two cores with the server, and one thread each is faster than two for both.
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT), **(env or {})}
    child = await children.start("daemon", cli("run", "--config", str(home.config)), settings)

    async def probe() -> bool:
        return await _status(f"{home.api_url}/readyz") == 200

    await children.ready(child, probe, DAEMON_READY_S, "the daemon is ready")
    return child


async def _status(url: str) -> int:
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session,
            session.get(url) as response,
        ):
            return response.status
    return 0
