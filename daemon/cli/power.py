"""``homeostat power``: how long a verdict will take, before anyone starts a canary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.looks import client
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption, config_file

if TYPE_CHECKING:
    from deploy.rollout_config import Preset, RolloutConfig


def power(
    sessions_per_hour: Annotated[
        float | None,
        typer.Option("--sessions-per-hour", min=0.0, help="New sessions an hour; default: recent traffic."),
    ] = None,
    feedback_rate: Annotated[
        float | None,
        typer.Option("--feedback-rate", min=0.0, max=1.0, help="Share of them with feedback; default: recent traffic."),
    ] = None,
    effect: Annotated[
        list[float] | None,
        typer.Option("--effect", help="Difference of mean reward, 0 to 1; may be repeated.", show_default=False),
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option("--share", help="Share of the first canary step; may be repeated.", show_default=False),
    ] = None,
    slice_share: Annotated[
        float, typer.Option("--slice-share", min=0.0, max=1.0, help="Share of sessions that the candidate can change.")
    ] = 1.0,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="Rollout preset: strict, balanced or fast; default: the config's."),
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    reason: ReasonOption = "",
) -> None:
    """Median units and hours to each verdict. Traffic is the daemon's own, unless both rates are given."""
    del reason
    effects, shares = _between("--effect", effect), _between("--share", share)
    _between("--slice-share", [slice_share], last=True)
    named = _preset(preset)
    if sessions_per_hour is not None and feedback_rate is not None:
        policy = _policy(config, home, named)
        found = _local(sessions_per_hour, feedback_rate, slice_share, effects, shares, policy)
    else:
        given = {
            "sessions_per_hour": sessions_per_hour,
            "feedback_rate": feedback_rate,
            "slice_share": slice_share,
            "preset": named,
        }
        found = _asked(config, home, given, effects, shares)
    output.show(found, as_json, _human(found))


def _preset(value: str | None) -> Preset | None:
    """The preset of this name. Raises ConfigError."""
    from daemon.faults import ConfigError
    from deploy.rollout_config import PRESETS

    if value is None:
        return None
    for preset in PRESETS:
        if value == preset:
            return preset
    *most, last = PRESETS
    raise ConfigError(f"--preset: expected {', '.join(most)} or {last}, got {value!r}")


def _between(option: str, values: list[float] | None, last: bool = False) -> list[float]:
    """The values. Raises ConfigError for one that is not above 0 and below 1 (``last``: 1 is allowed)."""
    from daemon.faults import ConfigError

    for value in values or []:
        if not (0.0 < value < 1.0 or (last and value == 1.0)):
            raise ConfigError(f"{option}: expected a number above 0 and below 1, got {value:g}")
    return values or []


def _policy(config: Path | None, home: Path | None, preset: Preset | None) -> RolloutConfig:
    """Without a daemon: the config's policy, or the default one where there is no config; no yearly budget."""
    from daemon.config import load_config
    from daemon.power_table import under
    from deploy.rollout import RolloutConfig

    path = config_file(config, home)
    named = config is not None or home is not None
    return under(load_config(path).rollout if named or path.exists() else RolloutConfig(), preset)


def _local(
    sessions_per_hour: float,
    feedback_rate: float,
    slice_share: float,
    effects: list[float],
    shares: list[float],
    policy: RolloutConfig,
) -> Any:
    from daemon.power_table import assumed, power_table

    basis = assumed(sessions_per_hour, feedback_rate, slice_share, None)
    assert basis is not None
    return power_table(basis, effects, shares, policy)


def _asked(
    config: Path | None,
    home: Path | None,
    given: dict[str, float | str | None],
    effects: list[float],
    shares: list[float],
) -> Any:
    """From the daemon. Raises Unreachable, which says how to do without."""
    from daemon.faults import Unreachable

    query = [(name, str(value)) for name, value in given.items() if value is not None]
    query += [("effect", str(e)) for e in effects] + [("share", str(s)) for s in shares]
    try:
        return client(config, home).get("/api/v1/power?" + "&".join(f"{name}={value}" for name, value in query))
    except Unreachable as error:
        raise Unreachable(f"{error}; without it, give --sessions-per-hour and --feedback-rate") from error


_COLUMNS = (
    "effect",
    "first step",
    "non-inferior after",
    "then better after",
    "promoted after",
    "in time",
    "harm found, first step",
    "harm found, second step",
)


def _human(found: output.Json) -> str:
    basis, policy = output.part(found, "assumed"), output.part(found, "policy")
    where = "from recent traffic" if basis["source"] == "recent_traffic" else "as given"
    lines = [
        f"traffic  {basis['sessions_per_hour']:.4g} sessions/h, {100 * basis['feedback_rate']:.3g} % with feedback "
        f"({where}): {basis['units_per_hour']:.4g} units/h; reward variance {basis['reward_variance']:.3g}",
        f"policy   {policy['preset']}: alpha {policy['alpha']:g}, of a wrong promotion {policy['alpha_promote']:.3g}; "
        f"first step excludes a loss of {policy['margin_small']:g}, second "
        f"({100 * policy['share_half']:g} %) one of {policy['margin_half']:g} and shows a gain; each unit waits "
        f"{policy['maturity_s'] / 3600:.3g} h; deadline {policy['deadline_s'] / 86400:.3g} days",
        "",
    ]
    forecasts = output.parts(found, "rows")
    if basis["people"] is not None:
        lines[-1:] = [
            f"people   about {basis['people']:.0f}, each counts for {policy['identity_cap']} sessions of a rollout: "
            f"{forecasts[0]['most_units']:.0f} units in all",
            "",
        ]
    rows: list[output.Json] = [dict(zip(_COLUMNS, _cells(row), strict=True)) for row in forecasts]
    notes = ["", "Medians: about half of all rollouts of such a candidate take longer. Promotion includes probation."]
    if basis["source"] == "given":
        notes.append(
            "What the year's rollouts have left for a wrong promotion is the daemon's to say: not counted here."
        )
    return "\n".join([*lines, output.table(rows, _COLUMNS), *notes])


def _cells(row: output.Json) -> tuple[str, ...]:
    return (
        f"±{row['effect']:g}",
        f"{100 * row['share_small']:g} %",
        _amount(row["units_small"], row["hours_small"]),
        _amount(row["units_half"], row["hours_half"]),
        "never" if row["hours_promoted"] is None else _hours(row["hours_promoted"]),
        "yes" if row["reaches_deadline"] else "no",
        _amount(row["units_harm"], row["hours_harm"]),
        _amount(row["units_harm_half"], row["hours_harm_half"]),
    )


def _amount(units: float | None, hours: float | None) -> str:
    if units is None or hours is None:
        return "never" if units is None else f"{units:.0f} units, never"
    return f"{units:.0f} units, {_hours(hours)}"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 100.0 else f"{hours / 24.0:.1f} days"
