"""The process as an object: options → new → start → stop. Wiring is one straight line, cleaned up in reverse.

    thread    consumes                     produces                      waits for
    api       requests                     commands to the controller    the socket
    ingest    the log                      one transaction a batch       records, 0.2 s at most
    schedule  ticks, sweeps, the trainer   effects and their rows        the clock, or a wake
    main      signals                      stop                          SIGTERM, SIGINT

What survives a kill: all of it. The store and the route file hold the state; a stop only makes it tidy.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import ProcessCollector

from daemon import secrets
from daemon.api.application import build
from daemon.api.server import ApiServer, bind
from daemon.child import Backoff, Child, ChildOptions
from daemon.config import Config
from daemon.home_lock import HomeLock
from daemon.pump import Pump
from daemon.runtime import Assemble, Runtime
from daemon.schedule import Schedule
from daemon.signals import stop_asked
from daemon.store import Store, retention

STOP_S: Final = 1.0
"""Seconds for each part to end: the batch in progress, the trainer; the API has two. In all below five."""
PAUSE_S: Final = 0.05
"""Seconds between two pieces of a retention sweep, for the others who write: some thousand exchanges a second go."""
log = structlog.get_logger(room="daemon")


@dataclass(frozen=True, slots=True)
class Options:
    """What a daemon is made of."""

    config: Config
    config_file: Path
    assemble: Assemble
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Daemon:
    """``start`` either gives a running daemon or raises a fault and leaves nothing behind; ``stop`` is idempotent."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cleanup = ExitStack()

    def start(self) -> None:
        """Start every part. Raises the faults of config, machine and peers; what can fail comes before what acts."""
        with ExitStack() as stack:
            self._wire(stack)
            self._cleanup = stack.pop_all()
        config = self._options.config
        log.info(
            "started", mode=config.mode, deployment=config.deployment.name, api=config.api.url, home=str(config.home)
        )

    def _wire(self, stack: ExitStack) -> None:
        options, config = self._options, self._options.config
        lock = HomeLock(config.home)
        stack.callback(lock.release)
        tokens = secrets.prepare(config.secrets)
        store = Store.open(config.store_url, config.store.synchronous)
        stack.callback(store.close)
        listener = bind(config.api.host, config.api.port)
        stack.callback(listener.close)
        schedule, stopping = Schedule(), threading.Event()
        runtime = Runtime(config, store, tokens, options.clock, options.monotonic, lambda: schedule.now("tick"))
        ProcessCollector(registry=runtime.registry)
        parts = options.assemble(runtime)
        stack.callback(parts.controller.close)
        stack.callback(parts.ingest.close)
        pump = Pump(parts.ingest, runtime.troubles)
        pump.open()
        parts.controller.start()
        stack.callback(pump.stop, STOP_S)
        schedule.every("tick", config.learning.tick_s, parts.controller.tick)
        schedule.every("retention", config.retention.every_s, lambda: self._forget(store, stopping))
        if config.learning.schedule is not None:
            schedule.crontab("adapt", config.learning.schedule, parts.controller.scheduled_adapt)
        child = self._trainer()
        if child is not None:
            stack.callback(child.stop, STOP_S)
            child.poll()
            schedule.every("trainer", 0.5, child.poll)
        app = build(
            deployment=config.deployment.name,
            store=store,
            controller=parts.controller,
            tokens=tokens,
            allowed_hosts=config.api.allowed_hosts,
            registry=runtime.registry,
            config=config,
            clock=options.clock,
        )
        server = ApiServer(app, listener)
        stack.callback(schedule.stop)
        stack.callback(stopping.set)
        stack.callback(server.stop)
        pump.start()
        schedule.start()
        server.start()

    def _trainer(self) -> Child | None:
        """The child that trains, where the mode lets it."""
        config = self._options.config
        if config.trainer.kind != "child" or config.mode == "observe":
            return None
        argv = [
            str(config.trainer.python),
            "-m",
            "daemon.cli.main",
            "trainer",
            "--config",
            str(self._options.config_file),
        ]
        backoff = Backoff(config.trainer.backoff_s, config.trainer.backoff_max_s)
        options = ChildOptions(argv, config.home / "trainer.log", backoff, {"PYTHONUNBUFFERED": "1"})
        return Child(options, self._options.monotonic)

    def _forget(self, store: Store, stopping: threading.Event) -> None:
        before = self._options.clock() - self._options.config.retention.prompts_days * 86400.0
        done = retention.sweep(store, before, lambda: stopping.wait(PAUSE_S))
        if done.exchanges or done.feedback or done.dead_letters:
            log.info("text_forgotten", exchanges=done.exchanges, feedback=done.feedback, dead_letters=done.dead_letters)

    def stop(self) -> None:
        """End every part, newest first. What was not committed never happened."""
        self._cleanup.close()

    def run(self) -> None:
        """Start, wait for SIGTERM or SIGINT, stop. Main thread only. Raises what ``start`` raises."""
        asked = stop_asked()
        self.start()
        print(f"homeostat runs: {self._options.config.api.url}", file=sys.stderr)
        asked.wait()
        began = self._options.monotonic()
        self.stop()
        log.info("stopped", seconds=round(self._options.monotonic() - began, 3))
