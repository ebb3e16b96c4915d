"""``homeostat``: the verbs, and how faults become messages and exit codes."""

from __future__ import annotations

import json
import sys
from typing import Final

import typer

from daemon.cli import backtest as backtest_verb
from daemon.cli import commands, demo, init, looks, processes
from daemon.cli import labels as labels_verb
from daemon.cli import lift as lift_verb
from daemon.cli import power as power_verb
from daemon.cli import why as why_verb
from daemon.faults import Fault, Refused

VERBS: Final = (
    processes.run,
    processes.trainer,
    processes.agent,
    demo.demo,
    demo.drill,
    init.init,
    looks.status,
    looks.versions,
    looks.rollout,
    commands.rollback,
    commands.promote,
    commands.approve,
    commands.abort,
    commands.pause,
    commands.resume,
    commands.adapt,
    why_verb.why,
    power_verb.power,
    backtest_verb.backtest,
    lift_verb.lift,
    labels_verb.labels,
    looks.events,
)

app = typer.Typer(
    name="homeostat",
    help="Keeps a deployed LLM fitted to its traffic.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _verb in VERBS:
    app.command()(_verb)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 refused."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        fault = _fault(error)
        if fault is None:
            raise
        if "--json" in sys.argv and not {"demo", "drill"} & set(sys.argv[1:2]):
            reason = fault.reason if isinstance(fault, Refused) else type(fault).__name__
            print(json.dumps({"ok": False, "reason": reason, "message": str(fault)}))
        print(f"homeostat: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)


def _fault(error: Exception) -> Fault | None:
    if isinstance(error, Fault):
        return error
    from daemon.fault_map import as_fault

    return as_fault(error)


if __name__ == "__main__":
    main()
