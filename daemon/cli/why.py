"""``homeostat why``: a decision in words, numbers and a picture."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from daemon.cli import output, plot
from daemon.cli.looks import client
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption

_MOST_COLUMNS: Final = 100
_ROWS: Final = 8
_INDENT: Final = " " * 12


def why(
    subject: Annotated[str, typer.Argument(help="A version, rollout, cycle, alarm, buffer or exchange.")],
    png: Annotated[
        Path | None, typer.Option("--png", help="Also draw the e-values over units into this file.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """Why it was decided: the rule, the numbers against their thresholds, what comes next, and the story behind it."""
    del reason
    found = client(config, home).get(f"/api/v1/evidence/{quote(subject, safe='')}")
    told = output.part(found, "explanation")
    if png is not None:
        _draw(told, png)
    width = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    output.show(found, as_json, "\n".join(lines(told, output.parts(found, "story"), width)))


def lines(told: output.Json, story: list[output.Json], width: int) -> list[str]:
    """What a person reads; ``told`` is empty for a subject that has a story alone."""
    made = explained(told, width) if told else []
    if story:
        made += ["", "STORY"] if made else []
        made.append(output.entries(story))
    return made


def explained(told: output.Json, width: int) -> list[str]:
    """The explanation, a section a topic."""
    decided = output.part(told, "decided")
    made = [
        told["title"],
        "",
        *_section("DECIDED", _wrapped([decided["words"]], width)),
        f"{_INDENT}{decided['reason']}, {output.cell(decided.get('at'), 'at')}, by {decided['by']}",
    ]
    measures = output.parts(told, "measures")
    if measures:
        made += _section("NUMBERS", output.table([_measure(m) for m in measures], _COLUMNS).splitlines())
    arms = output.parts(told, "arms")
    if arms:
        columns = ("arm", "version", "units", "rated", "first_reward", "matured", "mean_reward")
        made += _section("ARMS", output.table(arms, columns).splitlines())
    effect = output.part(told, "effect")
    if effect:
        made += _section("EFFECT", [_effect(effect)])
    for title, key in (("NEXT", "next"), ("NOTES", "notes")):
        made += _section(title, _wrapped(list(told.get(key, ())), width))
    remedies = output.parts(told, "can_do")
    longest = max((len(r["command"]) for r in remedies), default=0)
    made += _section("YOU CAN", [f"{r['command']:<{longest}}  {r['effect']}" for r in remedies])
    path = output.part(told, "path")
    return made + (_charts(path, width) if path else [])


_COLUMNS: Final = ("what", "is", "needs", "reached", "meaning")


def _measure(one: output.Json) -> output.Json:
    needs = "-" if one.get("threshold") is None else f"{one['relation']} {output.cell(one['threshold'])}"
    return {"what": one["name"], "is": one["value"], "needs": needs, "reached": one["reached"], "meaning": one["words"]}


def _effect(effect: output.Json) -> str:
    """Points are hundredths of a reward."""
    low, high = 100.0 * float(effect["low"]), 100.0 * float(effect["high"])
    estimate = effect.get("estimate")
    said = "" if estimate is None else f"{100.0 * float(estimate):+.1f} points "
    sure = f"{100.0 * float(effect['level']):g} % at all instants together"
    return f"{said}[{low:+.1f}, {high:+.1f}], canary minus control, {sure}, {effect['units']} {effect['basis']}"


def _wrapped(sentences: list[str], width: int) -> list[str]:
    return [line for sentence in sentences for line in textwrap.wrap(sentence, max(width - len(_INDENT), 40))]


def _section(title: str, body: list[str]) -> list[str]:
    return [f"{title if n == 0 else '':<12}{line}" for n, line in enumerate(body)]


def _charts(path: output.Json, width: int) -> list[str]:
    """One panel for each process that decides by itself and has moved, the one with the most evidence first."""
    curves: dict[str, list[float]] = path["log10_e"]
    decisive = {n: v for n, v in curves.items() if any(v) and not any(n.startswith(f"{other}_") for other in curves)}
    made: list[str] = []
    for name in sorted(decisive, key=lambda n: -decisive[n][-1]):
        values = decisive[name]
        threshold = float(path["thresholds"][name])
        now, rows = 10.0 ** values[-1], _ROWS if not made else _ROWS // 2
        made += ["", f"e-value of {name.replace('_', ' ')}: {now:.3g}, decides at {threshold:g}"]
        made += plot.panel(path["units"], values, threshold, width, rows)
    if made and path["marks"]:
        made.append(
            " " * 10 + ", ".join(f"{m['phase'].replace('_', ' ')} from unit {m['units']}" for m in path["marks"])
        )
    return made


def _draw(told: output.Json, png: Path) -> None:
    """Write the picture. Raises ConfigError where there is nothing to draw, MachineFault where it cannot be written."""
    from daemon.cli.evidence_picture import picture
    from daemon.faults import ConfigError, MachineFault

    path: Any = output.part(told, "path")
    if not path:
        raise ConfigError("--png: only a rollout, or a version with one, has e-values to draw: this has no units")
    try:
        png.write_bytes(picture(str(told["title"]), path))
    except OSError as error:
        raise MachineFault(f"--png: {png}: {error.strerror}") from error
