"""Every Prometheus metric of the product, in one file. Label sets are bounded: enumerations and configured names only.

Names follow Prometheus' conventions: base units, ``_total`` for counters. No digest, id or user text is ever a label.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.dead_letters import Reason


class Metrics:
    """All metrics, on a registry of their own so that tests and several daemons in one process do not meet."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._streams(self.registry)
        self._monitors(self.registry)
        self._rollout(self.registry)
        self._training(self.registry)
        self._known_labels()

    def _known_labels(self) -> None:
        """Counters that alerts watch exist from the start: a rise from "absent" to 1 is no increase to Prometheus."""
        for outcome in ("done", "failed"):
            self.rollbacks.labels(outcome)
        for outcome in ("done", "failed", "lost"):
            self.training_jobs.labels(outcome)
        self.dead_letters.labels(Reason.PROCESSING_FAILED)
        for arm in ("control", "canary"):
            self.units.labels(arm)
        for outcome in ("joined", "late", "orphans", "unlabelled"):
            self.joined.labels(outcome)
        for outcome in ("answered", "empty", "failed", "away"):
            self.mirrored.labels("soak", outcome)
        for outcome in ("right", "wrong", "failed", "away"):
            self.mirrored.labels("shadow", outcome)

    def _streams(self, to: CollectorRegistry) -> None:
        self.events = Counter("homeostat_events", "Events stored, by topic.", ["topic"], registry=to)
        self.dead_letters = Counter(
            "homeostat_dead_letters", "Events that could not be used, by reason.", ["reason"], registry=to
        )
        self.joined = Counter(
            "homeostat_joined", "Outcomes of the join: joined, late, orphans, unlabelled.", ["outcome"], registry=to
        )
        self.gap_events = Counter(
            "homeostat_gap_events", "Events lost to the log's retention before they were read.", ["topic"], registry=to
        )
        self.consumer_age = Gauge(
            "homeostat_consumer_lag_age_seconds",
            "Age of the oldest event that is not yet committed; 0 when nothing waits.",
            ["topic"],
            registry=to,
        )
        self.last_commit = Gauge(
            "homeostat_consumer_last_commit_timestamp_seconds", "Wall time of the newest commit.", registry=to
        )
        self.states_afresh = Counter(
            "homeostat_states_started_afresh",
            "Stored states that did not load and were begun anew, by part.",
            ["part"],
            registry=to,
        )
        self.batch_seconds = Histogram(
            "homeostat_batch_seconds",
            "Time of one ingest transaction.",
            registry=to,
            buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
        )

    def _monitors(self, to: CollectorRegistry) -> None:
        self.alarms = Counter(
            "homeostat_alarms",
            "Alarms by kind, detector and state (confirmed, dismissed, informed).",
            ["kind", "detector", "state"],
            registry=to,
        )
        self.watch_phase = Gauge(
            "homeostat_watch_phase", "1 for the phase that the watch is in.", ["phase"], registry=to
        )
        self.labels_wanted = Gauge("homeostat_labels_wanted", "Labels that open requests still wait for.", registry=to)
        self.capped = Counter(
            "homeostat_capped", "Events that the identity cap left out, by consumer.", ["consumer"], registry=to
        )
        self.reward = Gauge(
            "homeostat_reward_mean", "Mean reward of the newest joined exchanges, by arm.", ["arm"], registry=to
        )

    def _rollout(self, to: CollectorRegistry) -> None:
        self.rollout_phase = Gauge(
            "homeostat_rollout_phase", "1 for the phase of the active rollout.", ["phase"], registry=to
        )
        self.rollout_active = Gauge("homeostat_rollout_active", "1 while a rollout is active.", registry=to)
        self.rollout_deadline = Gauge(
            "homeostat_rollout_deadline_timestamp_seconds",
            "Deadline of the rollout; 0 without one.",
            registry=to,
        )
        self.canary_share = Gauge("homeostat_canary_share", "Share of the sessions sent to the candidate.", registry=to)
        self.units = Counter("homeostat_rollout_units", "Units counted, by arm.", ["arm"], registry=to)
        self.log_e = Gauge(
            "homeostat_rollout_log_e", "Log e-value of each process of the active rollout.", ["process"], registry=to
        )
        self.mirrored = Counter(
            "homeostat_mirrored_requests",
            "Requests sent to a candidate outside of traffic, by purpose (soak: answered, empty, failed, away; "
            "shadow: right, wrong, failed, away).",
            ["purpose", "outcome"],
            registry=to,
        )
        self.shadow_log_e = Gauge(
            "homeostat_shadow_log_e",
            "Log e-value of the shadow's harm test in the active rollout; 0 without scores.",
            registry=to,
        )
        self.shadow_blocks = Gauge(
            "homeostat_shadow_blocks", "Blocks (two mirrored requests each) that it rests on.", registry=to
        )
        self.verdicts = Counter("homeostat_rollouts", "Ended rollouts by verdict.", ["verdict"], registry=to)
        self.rollbacks = Counter(
            "homeostat_rollbacks", "Rollbacks by outcome (done, failed).", ["outcome"], registry=to
        )
        self.kill_query_looks = Counter(
            "homeostat_kill_query_looks",
            "Looks at the user's own queries, by configured name and outcome (within, beyond, missing).",
            ["query", "outcome"],
            registry=to,
        )
        self.replica_ready = Gauge("homeostat_replica_ready", "1 when the replica is alive.", ["replica"], registry=to)
        self.replica_verified = Gauge(
            "homeostat_replica_verified",
            "1 when the serving version's effect is proved on the replica.",
            ["replica"],
            registry=to,
        )
        self.stand_in = Gauge(
            "homeostat_champion_stand_in",
            "1 while another version serves because no replica has the champion.",
            registry=to,
        )
        self.frozen = Gauge(
            "homeostat_deployment_frozen",
            "1 while rollbacks in a row let no cycle start, until a person resumes.",
            registry=to,
        )
        self.route_epoch = Gauge("homeostat_route_epoch", "Epoch of the route in force.", registry=to)

    def _training(self, to: CollectorRegistry) -> None:
        self.training_jobs = Counter(
            "homeostat_training_jobs", "Training jobs by outcome (done, failed, lost).", ["outcome"], registry=to
        )
        self.training_seconds = Histogram(
            "homeostat_training_seconds",
            "Time of one training job.",
            registry=to,
            buckets=(10, 30, 60, 120, 300, 900, 3600, 14400),
        )
        self.gates = Counter(
            "homeostat_gates", "Gate decisions by verdict and reason.", ["verdict", "reason"], registry=to
        )
        self.buffer_items = Gauge(
            "homeostat_buffer_items", "Examples of the newest buffer, by role.", ["role"], registry=to
        )
        self.cycles = Counter("homeostat_cycles", "Ended cycles by outcome.", ["outcome"], registry=to)
