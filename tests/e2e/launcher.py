"""A process that has imported the daemon and forks it: a restart then costs what the daemon does, not five seconds of
imports, so that a test can kill it dozens of times.

The forked process is the real one: a pid, memory and session of its own, the real command line, killed by SIGKILL like
any other. The parent runs nothing of the product but its imports. Run as a program, orders as JSON lines on stdin:
``{"argv": [...], "env": {...}, "log": FILE}``; answers on stdout: ``started PID``, then ``ended CODE``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from typing import Any, Final, cast

IMPORTS: Final = (
    "daemon.app",
    "daemon.assemble",
    "daemon.cli.main",
    "daemon.config",
    "daemon.logging",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.protocols.http.h11_impl",
)


def child(order: dict[str, Any]) -> None:
    """Become the ordered process; does not return."""
    os.setsid()
    log = os.open(order["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, target)
    os.environ.update(order["env"])
    # Failpoints are read from the environment at import, which was the parent's.
    importlib.reload(sys.modules["streams.failpoints"])
    sys.argv = order["argv"]
    from daemon.cli.main import main

    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Take orders until stdin ends."""
    for name in IMPORTS:
        importlib.import_module(name)
    if threading.active_count() != 1:
        raise RuntimeError("an import started a thread: forks of this process would lack it")
    print("ready", flush=True)
    for line in sys.stdin:
        order = cast("dict[str, Any]", json.loads(line))
        pid = os.fork()
        if pid == 0:
            try:
                child(order)
            finally:
                os._exit(70)
        print(f"started {pid}", flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    serve()
