"""The watch of one deployment: exchanges and rewards in, alarms out. No I/O, no clock.

    warming ──reference full──> watching ──a primary detector──> suspected ──fresh events, confirm()──> alarmed
       ^                            ^                                │ dismissed                           │
       └── rebase (too few) ────────┴────────────────────────────────┘ <─────── rebase / realarm_events ───┘

Input detectors look at each prompt; a suspicion is tried on fresh traffic, and only a confirmed alarm may act. Rewards
and corrections are watched beside it by e-SR, which also sees answers change while the questions stay. Informers
(errors, refusals, surprisal, length and latency of replies) tell and never act. Events are those that the identity cap
lets through. State is two kinds of blob: ``fitted`` changes at a re-reference only, the others as events come.
"""

from __future__ import annotations

import json
import math
from typing import Any

from monitors.alarms import Alarm, AlarmKind, Evidence, SliceModel, alarm_id
from monitors.confirm import Seen
from monitors.coverage import Coverage, Phase
from monitors.detectors.classifier_bet import KEPT
from monitors.encoders import Encoder, encoder_of
from monitors.features import BUCKETS
from monitors.fitted import Fitted
from monitors.grams import hashed_array
from monitors.identity_cap import IdentityCap
from monitors.recent import Recent
from monitors.replies_watch import ReplyWatch
from monitors.rewards_watch import RewardWatch
from monitors.signals import Found
from monitors.suspicion import Suspicion
from monitors.warming import Warming
from monitors.watch_config import WatchConfig
from streams.events import Exchange

__all__ = ["Watch", "WatchConfig"]


class Watch:
    """Detectors of one deployment and their state.

    Invariant: at most ``recent_size`` prompts, ``reference_size`` reference prompts and ``identity_window`` identities
    are held.
    """

    def __init__(self, config: WatchConfig, seed: int = 0, encoder: Encoder | None = None) -> None:
        """``encoder``: in place of the one that the config names.

        Raises:
            EncoderUnusable: when the config names one that cannot be loaded.
        """
        self._config, self._seed = config, seed
        self._encoder = encoder or encoder_of(config.encoder)
        self._phase: Phase = "warming"
        self._index = 0
        self._counted = 0
        self._capped = 0
        self._cap = IdentityCap(config.identity_cap, config.identity_window)
        self._warming = self._new_warming()
        self._fitted: Fitted | None = None
        """None while warming."""
        self._ended: Fitted | None = None
        """What was fitted before, while the next reference is collected: rewards still ask it what is familiar."""
        self._recent = Recent(config.recent_size)
        self._suspicion: Suspicion | None = None
        self._onset = 0
        """Counted events before the alarm's window began; prompts from there on are what the alarm is about."""
        self._since_reset = 0
        self._rebased: dict[str, Any] | None = None
        self._rewards = RewardWatch(config)
        self._replies = ReplyWatch(config)

    @property
    def phase(self) -> Phase:
        """Where the input detectors are."""
        return self._phase

    @property
    def counts(self) -> dict[str, int]:
        """Exchanges seen, counted by the detectors, and left out by the identity cap."""
        return {"seen": self._index, "counted": self._counted, "capped": self._capped}

    @property
    def coverage(self) -> Coverage:
        """What of the usual traffic is known by now."""
        fitted, warming, config = self._fitted, self._warming, self._config
        return Coverage(
            phase=self._phase,
            prompts=warming.total if fitted is None else len(fitted.reference),
            prompts_wanted=config.reference_size,
            covers_s=warming.span_s if fitted is None else fitted.covers_s,
            wanted_s=config.reference_span_s,
            rewards=self._rewards.learned,
            rewards_wanted=config.reward_reference,
            rewards_watched=self._rewards.takes,
        )

    # ------------------------------------------------------------------------------------------------------ events

    def observe_exchange(self, exchange: Exchange) -> list[Alarm]:
        """One exchange in arrival order; the alarms that it completes."""
        self._index += 1
        if not self._cap.admit(exchange.identity, self._index):
            self._capped += 1
            return []
        alarms = [self._heard(exchange, found) for found in self._replies.observe(exchange, self._index)]
        if exchange.usual_version:
            asked = _finite(exchange.received_at)
            alarms += self._rated(exchange, self._rewards.exchanged(exchange.version, self._index, asked))
        text = exchange.prompt
        if not len(hashed_array(text, BUCKETS)):  # a text without words
            return alarms
        self._counted += 1
        seen = Seen(text, exchange.session, _finite(exchange.surprisal), _finite(exchange.received_at))
        self._recent.append(seen)
        match self._phase:
            case "warming":
                self._warming.append(seen)
                self._fit_when_full()
            case "watching":
                self._look(seen)
            case "suspected":
                alarms += self._second_look(exchange)
            case "alarmed":
                if self._counted - self._onset >= self._config.realarm_events:
                    self._rearm()
        return alarms

    def observe_reward(
        self, exchange: Exchange, reward: float, sent_at: float | None = None, corrected: bool = False
    ) -> list[Alarm]:
        """One counted reward in arrival order, and whether somebody wrote the right answer beside it.

        Those of a canary are the rollout's to judge, those of a holdback another version's: both are left out.
        ``sent_at`` is when its feedback was sent (None: when the exchange ended): people may rate an old reply after
        what the alarm is about began, and the alarm is as old as what it was raised by.
        """
        if not exchange.usual_version:
            return []
        text = exchange.prompt
        known = self._fitted or self._ended
        novelty = known.novelty_of(text) if known is not None and self._rewards.takes else None
        asked = _finite(exchange.received_at)
        identity, version = exchange.identity, exchange.version
        found = self._rewards.observe(identity, reward, self._index, corrected, novelty, text, asked, version)
        return self._rated(exchange, found, sent_at)

    def rebase(self, now: float, reason: str) -> None:
        """Make the traffic since the alarm (else the newest) the reference: what serves now is fitted to it.

        With fewer than ``reference_size`` prompts the watch warms up until there are enough. ``now`` and ``reason``
        are kept as the record of the newest re-reference.
        """
        since = self._counted - self._onset if self._phase == "alarmed" else self._config.reference_size
        self._rebased = {"at": now, "reason": reason}
        self.relearn_rewards()
        self._take_reference(since)

    def relearn_rewards(self) -> None:
        """Another version answers: learn the usual levels of rewards and replies anew, and keep the reference of
        prompts.
        """
        self._rewards.rebase()
        self._replies.forget()

    def slice_now(self) -> SliceModel | None:
        """The alarm's slice learned anew from all prompts since its onset; None when no alarm stands or too few came.

        Call it when the buffer is built, and freeze the answer before the rollout's first assignment.
        """
        if self._phase != "alarmed" or self._fitted is None:
            return None
        window = self._recent.newest(min(self._counted - self._onset, self._config.recent_size))
        built = self._fitted.build_slice(window, self._seed)
        return built.model if built else None

    # ------------------------------------------------------------------------------------------------------ inside

    def _new_warming(self) -> Warming:
        return Warming(self._config.reference_size, self._config.reference_span_s)

    def _take_reference(self, since: int) -> None:
        """The newest ``since`` prompts are what is usual."""
        config = self._config
        newest = self._recent.newest(min(since, config.reference_size))
        self._warming = Warming(config.reference_size, config.reference_span_s, newest)
        if self._fitted is not None:
            self._ended = self._fitted
            self._ended.rearm(())
        self._suspicion, self._fitted, self._phase = None, None, "warming"
        self._fit_when_full()

    def _heard(self, exchange: Exchange, found: Found) -> Alarm:
        """What an informer of the replies has told."""
        name = str(found.evidence["signal"])
        return self._alarm(exchange, found.kind, found.detector, found.primary, False, found.evidence, None, name)

    def _rated(self, exchange: Exchange, told: list[Found], sent_at: float | None = None) -> list[Alarm]:
        """What was found in rewards, or in their absence."""
        return [
            self._alarm(exchange, one.kind, one.detector, one.primary, True, one.evidence, None, one.detector, sent_at)
            for one in told
        ]

    def _fit_when_full(self) -> None:
        """Once the reference is full: fit the features, set the thresholds, begin to watch."""
        if not self._warming.full:
            return
        warmed, self._warming = self._warming, self._new_warming()
        between = self._config.events_between_suspicions
        self._fitted = Fitted.fit(warmed.held, warmed.span_s, warmed.events_an_hour, between, self._seed, self._encoder)
        self._ended = None
        self._since_reset = 0
        self._phase = "watching"

    def _look(self, seen: Seen) -> None:
        assert self._fitted is not None
        self._since_reset += 1
        told = self._fitted.update(seen)
        if told is not None:
            self._phase = "suspected"
            self._suspicion = Suspicion.raised(told, self._index, self._counted, self._fitted, self._config)

    def _second_look(self, exchange: Exchange) -> list[Alarm]:
        """Collect fresh events; with enough of them confirm or dismiss, and once confirmed speak with a slice."""
        assert self._suspicion is not None and self._fitted is not None
        suspicion, fitted, recent, counted = self._suspicion, self._fitted, self._recent, self._counted
        if suspicion.confirmed is None:
            looked = suspicion.try_again(fitted, recent, counted, self._seed + self._index, self._config)
            if looked == "dismissed":
                self._rearm()
                evidence, told = suspicion.evidence({}), suspicion.detector
                return [self._alarm(exchange, AlarmKind.INPUT, told, True, False, evidence, None, "dismissed")]
            if looked == "waiting":
                return []
        window = suspicion.window(recent, counted)
        if not suspicion.may_speak(fitted, window, counted, self._config):
            return []
        built = fitted.build_slice(window, self._seed)
        found: Evidence = {
            **(suspicion.confirmed or {}),
            "share": built.share if built else 0.0,
            "cause": "new_inputs",
            "terms": list(built.model.terms) if built else suspicion.moved_words(fitted, recent, counted),
            **fitted.language(window),
        }
        evidence, model = suspicion.evidence(found), built.model if built else None
        alarm = self._alarm(exchange, AlarmKind.INPUT, suspicion.detector, True, True, evidence, model, "confirmed")
        self._onset = counted - len(window)
        self._rearm()
        self._phase = "alarmed"
        return [alarm]

    def _rearm(self) -> None:
        """Back to watching with the same reference and no wealth; what came meanwhile is learned all the same."""
        assert self._fitted is not None
        meanwhile = self._recent.newest(KEPT)
        self._fitted.rearm(meanwhile)
        self._since_reset = len(meanwhile)
        self._suspicion = None
        self._phase = "watching"

    def _alarm(
        self,
        exchange: Exchange,
        kind: AlarmKind,
        detector: str,
        primary: bool,
        confirmed: bool,
        evidence: Evidence,
        found: SliceModel | None,
        state: str,
        at: float | None = None,
    ) -> Alarm:
        return Alarm(
            alarm_id=alarm_id(exchange.deployment, kind, detector, self._index, state),
            deployment=exchange.deployment,
            kind=kind,
            detector=detector,
            primary=primary,
            confirmed=confirmed,
            at=exchange.completed_at if at is None else max(at, exchange.completed_at),
            event_index=self._index,
            evidence=evidence,
            slice=found,
        )

    # ------------------------------------------------------------------------------------------------------- state

    def dump_parts(self) -> dict[str, bytes]:
        """State as named blobs. Write those that differ from what was last written: few do in a batch.

        ``fitted`` (about a megabyte or two) is the same object until the next re-reference; closed ``recent-*`` chunks
        never change.
        """
        parts = {"moving": _json(self._moving()), **self._recent.dump_parts()}
        if self._phase == "warming":
            parts["warming"] = _json(self._warming.dump())
        known = self._fitted or self._ended
        if known is not None:
            parts["fitted"] = known.blob()
        return parts

    def _moving(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "phase": self._phase,
            "index": self._index,
            "counted": self._counted,
            "capped": self._capped,
            "onset": self._onset,
            "since_reset": self._since_reset,
            "cap": self._cap.dump(),
            "suspicion": self._suspicion.dump() if self._suspicion else None,
            "rebased": self._rebased,
            **(self._fitted.moving() if self._fitted else {"mewma": None, "bet": None}),
            "ended": self._ended.moving() if self._ended else None,
            "rewards": self._rewards.dump(),
            **self._replies.dump(),
        }

    @classmethod
    def load_parts(cls, config: WatchConfig, parts: dict[str, bytes], encoder: Encoder | None = None) -> Watch:
        """Inverse of ``dump_parts``; goes on bit for bit as the dumped watch would have.

        With another encoder than it was fitted with it takes the newest prompts as its reference, else waits for them.
        A suspicion that has had more looks than the config now gives is dropped, and the watch goes on.
        """
        moving = json.loads(parts["moving"])
        watch = cls(config, int(moving["seed"]), encoder)
        watch._phase = moving["phase"]
        watch._index, watch._counted, watch._capped = moving["index"], moving["counted"], moving["capped"]
        watch._onset, watch._since_reset = moving["onset"], moving["since_reset"]
        watch._cap.load(moving["cap"])
        watch._suspicion = Suspicion.load(moving["suspicion"]) if moving["suspicion"] else None
        watch._rebased = moving["rebased"]
        watch._rewards = RewardWatch.load(config, moving["rewards"])
        watch._replies = ReplyWatch.load(config, moving)
        watch._recent = Recent.load_parts(config.recent_size, parts)
        if moving["mewma"] is not None:
            watch._load_fitted(parts["fitted"], moving)
        elif moving.get("ended") is not None:
            watch._ended = Fitted.load(parts["fitted"], moving["ended"], (), watch._encoder)
        if moving["phase"] == "warming":
            stored = json.loads(parts["warming"])
            watch._warming = Warming.load(config.reference_size, config.reference_span_s, stored)
        if watch._suspicion is not None and watch._suspicion.past(config):
            watch._rearm()
        return watch

    def _load_fitted(self, blob: bytes, moving: dict[str, Any]) -> None:
        # Prompts since the suspicion were not given to the detectors.
        after = self._suspicion.since(self._counted) if self._suspicion else 0
        fed = min(self._since_reset, KEPT)
        self._fitted = Fitted.load(blob, moving, self._recent.newest(after + fed)[:fed], self._encoder)
        if self._fitted is None:
            self._take_reference(self._config.reference_size)

    def dump(self) -> bytes:
        """The whole state in one blob."""
        return _json({name: blob.decode() for name, blob in self.dump_parts().items()})

    @classmethod
    def load(cls, config: WatchConfig, blob: bytes) -> Watch:
        """Inverse of ``dump``."""
        return cls.load_parts(config, {name: part.encode() for name, part in json.loads(blob).items()})


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
