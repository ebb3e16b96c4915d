"""From the store to a buffer on disk: recorded exchanges become examples, selection decides, files and rows are
written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from adapters.buffer import write_buffer
from adapters.demonstration_choice import demonstrated
from adapters.demonstrations import DemonstrationsConfig, Pair
from adapters.examples import Anchor, Example, example_of, read_anchors
from adapters.selection import Selection, SelectionPolicy, select
from adapters.training_config import TrainingConfig
from daemon.config import Config
from daemon.faults import Refused
from daemon.store import Store, Tx, buffers, cycles, exchanges, feedback, suspended
from monitors.alarms import SliceModel
from monitors.gate import GateConfig
from monitors.metrics import Metrics
from monitors.reward import REWARD_VERSION, exchange_reward
from streams.events import Exchange, Feedback, Trust

MOST_EXCHANGES: Final = 50_000
"""Newest exchanges that a buffer is chosen from: bounds memory and the time of selection."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Settings of one cycle: the config's, with what a person asked to differ."""

    selection: SelectionPolicy
    training: TrainingConfig

    @classmethod
    def parse(cls, config: Config, given: Mapping[str, Any]) -> Overrides:
        """Merge section by section. Raises Refused naming the section or key that does not exist or fit."""
        if not given:
            return cls(config.selection, config.training)
        unknown = set(given) - {"selection", "training"}
        if unknown:
            raise Refused(
                "unknown_override", f"overrides take selection and training, got {', '.join(sorted(unknown))}"
            )
        try:
            return cls(
                SelectionPolicy.model_validate(config.selection.model_dump() | dict(given.get("selection", {}))),
                TrainingConfig.model_validate(config.training.model_dump() | dict(given.get("training", {}))),
            )
        except (ValidationError, TypeError, ValueError) as error:
            raise Refused("bad_override", f"overrides: {error}") from error


@dataclass(frozen=True, slots=True)
class Built:
    """A buffer on disk that no row knows yet."""

    selection: Selection
    digest: str
    folder: str
    counts: dict[str, int]
    new: int
    """Examples that survived selection: to learn from, or to choose pairs from."""
    pairs: tuple[Pair, ...] = ()
    """What is shown, where that was asked for."""

    def questions_for(self, gate: GateConfig) -> bool:
        """Whether the hold-outs hold as many questions as the gate needs for a verdict."""
        return self.counts["holdout_old"] >= gate.min_old and self.counts["holdout_new"] >= gate.min_new


class BufferBuilder:
    """Reads the store, writes below the artifacts folder."""

    def __init__(
        self, config: Config, store: Store, artifacts: Path, metrics: Metrics, base_names: Collection[str]
    ) -> None:
        """``base_names``: under which the base is served, the identity version among them."""
        self._metrics, self._base_names = metrics, frozenset(base_names)
        self._config, self._store, self._artifacts = config, store, artifacts
        self._name = config.deployment.name

    def build(
        self,
        cycle: cycles.Cycle,
        inside: SliceModel | None,
        champion: str | None,
        overrides: Overrides,
        now: float,
        show: DemonstrationsConfig | None = None,
    ) -> Built:
        """Select and write the files; with ``show`` the buffer is narrowed to the pairs that a prompt may hold.

        Raises AnchorsInvalid and OSError.
        """
        examples, excluded, shaped = self._examples(inside, now)
        seed = int(cycle.id.encode().hex()[-12:], 16)
        selection = select(
            examples,
            overrides.selection,
            seed=seed,
            tenant=self._config.deployment.tenant,
            anchors=self._anchors(),
            excluded=excluded,
            own=self._base_names if champion is None else frozenset({champion}),
        )
        new, pairs = len(selection.new), tuple[Pair, ...]()
        if show is not None:
            selection, pairs = demonstrated(selection, show, seed, shaped)
        folder = write_buffer(self._artifacts / "buffers", selection)
        counts = {
            "examples": len(examples),
            "new": len(selection.new),
            "corrections": sum(e.target_kind == "correction" for e in selection.new),
            "replay": len(selection.replay),
            "anchors": len(selection.anchors),
            "holdout_old": len(selection.holdout_old),
            "holdout_new": len(selection.holdout_new),
        }
        for role in ("new", "replay", "anchors", "holdout_old", "holdout_new"):
            self._metrics.buffer_items.labels(role=role).set(counts[role])
        if show is not None:
            counts |= {"chosen_from": new, "characters": sum(pair.characters for pair in pairs)}
        return Built(selection, selection.digest, str(folder), counts, new, pairs)

    def record(self, tx: Tx, built: Built, cycle: cycles.Cycle, now: float) -> None:
        """Rows for a buffer and the decision on each of its exchanges."""
        row = buffers.Buffer(
            built.digest,
            self._name,
            self._config.deployment.tenant,
            cycle.cause,
            {**built.selection.counts, **built.counts},
            now,
        )
        items = [buffers.Item(d.exchange_id, d.role, d.stage, d.reason.value) for d in built.selection.decisions]
        buffers.add(tx, row, items)

    def holdout_file(self, cycle: cycles.Cycle) -> Path:
        """Where the hold-outs of a cycle's buffer lie."""
        return self._artifacts / "buffers" / str(cycle.data["buffer"]) / "holdout.jsonl"

    def _examples(self, inside: SliceModel | None, now: float) -> tuple[list[Example], set[str], set[str]]:
        """Examples, ids that are suspended, and ids whose answer more than the kept text made."""
        since = now - self._config.cycle.history_s
        with self._store.read() as read:
            found = exchanges.since(read, self._name, since, now, MOST_EXCHANGES)
            said = feedback.for_exchanges(read, [x.exchange_id for x in found])
            excluded = suspended.all_ids(read)
        shaped = {x.exchange_id for x in found if x.sampling is not None and x.sampling.shaped}
        return [self._example(x, said.get(x.exchange_id, []), inside) for x in found if _usable(x)], excluded, shaped

    def _example(self, exchange: Exchange, said: list[Feedback], inside: SliceModel | None) -> Example:
        trusted = [f for f in said if f.trust is not Trust.BARE]
        reward = exchange_reward(trusted, exchange.completion)
        return example_of(
            exchange,
            said,
            reward.value,
            REWARD_VERSION,
            in_slice=inside is None or inside.contains(exchange.prompt),
        )

    def _anchors(self) -> tuple[Anchor, ...]:
        path = self._config.learning.anchors_file
        return read_anchors(path) if path.exists() else ()


def _usable(exchange: Exchange) -> bool:
    """A reply that may be learnt from or kept: no error, and not the frozen anchor's of a holdback, which answers as
    nobody else does any more.
    """
    return exchange.status < 400 and exchange.arm != "holdback"
