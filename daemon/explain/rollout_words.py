"""What the named reasons and phases of a rollout mean, in sentences. ``{}`` fields are numbers of its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from daemon.explain.explanation import Remedy
from deploy.rollout import Phase

_HARM: Final = ": the weighted harm evidence reached {e_harm}, and {needs} ends a rollout."
_HARMS: Final[Mapping[str, str]] = {
    "reward_harm": "Users rated the candidate's replies below the control's",
    "more_errors": "The candidate failed more often than the control",
    "slower": "The candidate was slow more often than the control",
    "slower_first_token": "The candidate was late with its first token more often than the control",
    "slower_tokens": "The candidate was slow from token to token more often than the control",
    "more_safety_flags": "The candidate's replies were flagged as unsafe more often than the control's",
    "more_refusals": "The candidate refused much more often than the control",
    "longer_replies": "The candidate's replies were overlong much more often than the control's",
    "broken_form": "The candidate's replies broke their form much more often than the control's",
    "more_agreement": "The candidate agreed for agreement's sake much more often than the control",
    "more_questions": "The candidate asked back instead of answering much more often than the control",
}

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gate_passed": "The candidate passed the gate offline, so its rollout was opened.",
        "second_probation": (
            "Known questions were answered worse soon after its promotion. Rewards learned anew from its own replies "
            "cannot tell the version from the world, so it is compared with the version before it at random once more."
        ),
        "second_probation_proposed": (
            "Known questions were answered worse soon after its promotion. A person decides whether it is compared "
            "with the version before it at random once more."
        ),
        "control_is_an_adapter": "The control serves as an adapter, so that both arms pay the same.",
        "effect_proved_and_soaked": "On one replica the candidate changes replies as it should and answered the soak.",
        "soaked_on_synthetic_alone": (
            "On one replica the candidate changes replies as it should. No traffic is recorded, so it answered "
            "synthetic requests alone."
        ),
        "soak_at_work": "The candidate is answering synthetic and recorded requests on one replica.",
        "soak_not_finite": "A log-probability of the candidate's replies is no finite number: its weights are broken.",
        "effect_proved_everywhere": "Every replica that answers has the candidate with its effect proved.",
        "mode_asks_for_a_person": "The mode of this deployment leaves this step to a person.",
        "approved": "A person approved the step.",
        "promoted_by_person": "A person promoted past the statistics.",
        "non_inferior": (
            "The candidate is not worse than the control by more than {margin_small} reward: "
            "e {e_non_inferior_small} reached {needs_promote}."
        ),
        "superior_in_slice_and_non_inferior": (
            "The candidate is better on the alarm's slice (e {e_superior_in_slice}) and overall not worse by more than "
            "{margin_half} reward (e {e_non_inferior_half}); both reached {needs_promote}."
        ),
        "no_harm_in_probation": "Probation ended without evidence of harm (e {e_harm}, {needs} would have ended it).",
        **{reason: f"{what}{_HARM}" for reason, what in _HARMS.items()},
        "shadow_harm": (
            "No user met it: of recorded requests that were sent again it lost {shadow_lost} confirmed replies and "
            "mended {shadow_mended} corrected ones, in {shadow_blocks} of each (e {shadow_e}, {needs_shadow} ends it)."
        ),
        "shadow_waits_for_scores": (
            "It is proved, and recorded requests with a known answer are being sent to it first; that takes "
            "{shadow_wait_s} at most."
        ),
        "consecutive_server_errors": (
            "The candidate answered at least {kill_errors} requests of at least {kill_sessions} sessions in a row "
            "with a server error: the kill switch, which waits for no statistics."
        ),
        "fleet_errors": (
            "Since the canary began the whole fleet fails far more often than before it: harm that both arms share, "
            "which no comparison of arms can see."
        ),
        "fleet_slow": (
            "Since the canary began the whole fleet is far slower than before it: harm that both arms share, which no "
            "comparison of arms can see."
        ),
        "fleet_corrupted": (
            "Since the canary began the whole fleet answers far more often with what no model says (runs of one token, "
            "nothing, bytes that are no text): harm that both arms share, which no comparison of arms can see."
        ),
        "user_query": (
            "The operator's own query {query} was {relation} its limit of {threshold} at {looks} looks in a row, at "
            "{value} when it ended: a kill switch, which waits for no statistics. PromQL: {expr}"
        ),
        "user_query_beyond": (
            "The newest look at one of the operator's own queries is beyond its limit: no canary begins and no share "
            "is raised until it is not."
        ),
        "query_not_answered": (
            "A kill query that asks for it (`on_missing: hold`) has no answer: the share is not raised before it has "
            "one. Nothing goes back for want of an answer."
        ),
        "not_live": "It meets no users yet.",
        "feedback_rate_differs": (
            "One arm is rated far more often than the other (e {e_feedback_rate}, limit {needs_void}): who speaks "
            "depends on the arm, so the rewards cannot be compared."
        ),
        "evidence_of_another_release": (
            "This release bets with other stakes than the one under which users met the candidate. Its units counted "
            "anew would be a second chance at the same level, so there is no verdict on them."
        ),
        "sample_ratio_mismatch": (
            "The arms are not as large as they were drawn (e {e_sample_ratio}, limit {needs_void}): something lets "
            "sessions of one arm go missing, so the comparison means nothing."
        ),
        "deadline": "No verdict came before the deadline; without one the champion stays.",
        "aborted_by_person": "A person ended it; the champion stays and the candidate is not denied.",
        "rollback_by_person": "A person rolled it back.",
        "by_person": "A person rolled it back.",
        "too_few_units": (
            "An arm has fewer matured units than the {min_units_per_arm} that the first step needs: "
            "control {units_matured_control}, canary {units_matured_canary}."
        ),
        "not_yet_non_inferior": "The evidence does not exclude a loss beyond the margin yet.",
        "not_yet_superior_in_slice": (
            "The evidence does not show yet that the candidate is better on the alarm's slice: "
            "e {e_superior_in_slice} of {needs_promote}."
        ),
        "too_few_units_in_probation": (
            "The hours of probation are over, but fewer than {min_units_per_arm} units came in it: it goes on."
        ),
        "no_harm_in_second_probation": (
            "The second probation ended without evidence that it is worse than the version before it (e {e_harm}, "
            "{needs} would have ended it): what changed is the world."
        ),
        "in_second_probation": (
            "It serves {share_second_probation} of new sessions, the version before it the others, and is watched for "
            "harm."
        ),
        "too_few_units_in_second_probation": (
            "The hours of the second probation are over, but an arm has fewer rated units than the "
            "{min_units_per_arm} that say anything: it goes on."
        ),
        "in_probation": "The candidate serves {share_probation} of new sessions and is watched for harm.",
        "awaiting_approval": "It waits for a person.",
        "paused": "The deployment is paused: no step up is taken, the way back stays open.",
        "no_effect": "The candidate loads and changes nothing: its bytes do not do what the trainer measured.",
        "effect_differs": "The candidate changes replies, but not as the trainer measured.",
        "too_few_tokens_agree": "Near ties ended the comparison with the trainer's figures before half of the tokens.",
        "no_fingerprint": "The candidate's manifest has no prompts to compare it by.",
        "no_probes": "Nothing was asked of the replica, so nothing is proved.",
        "identity_differs": "Under the identity version a replica does not say what its base says.",
        "identity_changes_tokens": "Under the identity version a replica does not say what its base says.",
        "stands_on_unproved": "The version that these demonstrations stand on is not proved on that replica.",
        "not_finite": "Log-probabilities under the version are no finite numbers.",
        "unreachable": "A replica, or the agent beside it, does not answer in time.",
        "server_failed": "A server answered with an error of its own, or with what is not its format.",
        "control_refused": "A server's gateway is not loaded, or does not take the control token.",
        "agent_refused": "The agent does not take this daemon's token.",
        "lora_disabled": "A server was started without run-time LoRA.",
        "rank_too_large": "The adapter's rank does not fit the slots of a server.",
        "load_rejected": "A server looked at the adapter and refused it.",
        "unknown_model": "A server has not the version; it is loaded again.",
        "unknown_version": "The artifacts folder of a host has no such version.",
        "files_rejected": "The version's files are not what its manifest says, or do not fit the base.",
        "route_refused": "A gateway holds a newer route.",
        "stale_route": "Another writer was faster at the host.",
        "engine_died": "A server process was replaced while it was asked for the candidate, again and again.",
        "driver_error": "A server did not do what it was asked.",
        "soak_server_failed": "While it answered the soak the server failed as often as it may.",
        "soak_empty_replies": "More than half of the candidate's replies to mirrored requests were empty.",
        "no_replica_answers": "No replica answers.",
    }
)

WHAT: Final[Mapping[Phase, str]] = MappingProxyType(
    {
        Phase.STARTING: "started",
        Phase.SOAKING: "soaking on one replica",
        Phase.PROVING: "being proved on every replica",
        Phase.AWAITING_CANARY: "waits for a person to approve the canary",
        Phase.CANARY_SMALL: "in its first canary step",
        Phase.CANARY_HALF: "in its second canary step",
        Phase.AWAITING_PROMOTION: "waits for a person to approve the promotion",
        Phase.PROBATION: "in probation",
        Phase.AWAITING_SECOND_PROBATION: "waits for a person to approve a second probation",
        Phase.SECOND_PROBATION: "in a second probation",
        Phase.PROMOTED: "promoted",
        Phase.KEPT: "kept after a second probation",
        Phase.ROLLED_BACK: "rolled back",
        Phase.INCONCLUSIVE: "ended without a verdict",
        Phase.DENIED: "denied before it met users",
        Phase.ABORTED: "aborted",
    }
)

NEXT: Final[Mapping[Phase, str]] = MappingProxyType(
    {
        Phase.STARTING: "Next the candidate is loaded on one replica and proved there.",
        Phase.SOAKING: "Next the candidate is proved on every replica.",
        Phase.PROVING: "Next {share_small} of new sessions meet the candidate.",
        Phase.AWAITING_CANARY: "Nothing, until a person approves or the deadline passes.",
        Phase.CANARY_SMALL: (
            "At e {needs_promote} against a loss of {margin_small} and {min_units_per_arm} matured units an arm the "
            "share goes to {share_half}."
        ),
        Phase.CANARY_HALF: (
            "At e {needs_promote} for better on the slice and e {needs_promote} against a loss of {margin_half} "
            "overall, probation begins at {share_probation}."
        ),
        Phase.AWAITING_PROMOTION: "Nothing, until a person approves or the deadline passes; harm still ends it.",
        Phase.PROBATION: (
            "After {probation_units} units or {probation_s} without evidence of harm the candidate is promoted; "
            "harm leads back to the control."
        ),
        Phase.AWAITING_SECOND_PROBATION: (
            "Nothing, until a person approves or the deadline passes; it serves everybody meanwhile."
        ),
        Phase.SECOND_PROBATION: (
            "After {probation_units} rated units or {probation_s} without evidence of harm it serves everybody again, "
            "and the alarm goes on to a learning cycle; harm leads back to the control."
        ),
        Phase.KEPT: "It is the champion as before. Its alarm goes on to the next action of the policy.",
        Phase.PROMOTED: "The candidate is the champion; the version before it stays resident to go back to.",
        Phase.ROLLED_BACK: (
            "The candidate is on the deny list for good. The next cycle for this cause waits twice as long, and "
            "rollbacks in a row for one cause freeze the deployment until a person resumes it."
        ),
        Phase.INCONCLUSIVE: "The champion serves on. The candidate is not denied and not tried again by itself.",
        Phase.DENIED: "The candidate is on the deny list for good.",
        Phase.ABORTED: "The champion serves on.",
    }
)

_BACK = Remedy("homeostat rollback", "leave the candidate at once, on every gateway, and deny it for good")
_ABORT = Remedy("homeostat abort", "end the rollout; the champion stays and the candidate is not denied")
_PAUSE = Remedy("homeostat pause", "take no step up until `homeostat resume`; harm still ends the rollout")
_PUSH = Remedy("homeostat promote", "go on to probation without waiting for evidence (scope admin)")
_POWER = Remedy("homeostat power", "how many units and hours a verdict takes at this traffic")
_AGAIN = Remedy("homeostat adapt", "start another learning cycle")

CAN_DO: Final[Mapping[Phase, tuple[Remedy, ...]]] = MappingProxyType(
    {
        Phase.STARTING: (_ABORT, _PAUSE),
        Phase.SOAKING: (_ABORT, _PAUSE),
        Phase.PROVING: (_ABORT, _PAUSE),
        Phase.AWAITING_CANARY: (Remedy("homeostat approve", "start the canary"), _ABORT, _POWER),
        Phase.CANARY_SMALL: (_BACK, _ABORT, _PAUSE, _PUSH, _POWER),
        Phase.CANARY_HALF: (_BACK, _ABORT, _PAUSE, _PUSH, _POWER),
        Phase.AWAITING_PROMOTION: (Remedy("homeostat approve", "begin probation"), _BACK, _ABORT),
        Phase.PROBATION: (
            _BACK,
            _ABORT,
            Remedy("homeostat promote", "end probation now, in favour of the candidate (scope admin)"),
        ),
        Phase.AWAITING_SECOND_PROBATION: (
            Remedy("homeostat approve", "begin the second probation"),
            Remedy("homeostat abort", "let it be; the champion stays"),
            Remedy("homeostat rollback", "go back to the version before it without a comparison"),
        ),
        Phase.SECOND_PROBATION: (
            _BACK,
            Remedy("homeostat abort", "end the comparison; the champion stays"),
            Remedy("homeostat promote", "the same, as a verdict for the champion (scope admin)"),
        ),
        Phase.KEPT: (
            Remedy("homeostat rollback", "go back to the version before it all the same"),
            _AGAIN,
        ),
        Phase.PROMOTED: (
            Remedy("homeostat rollback", "go back to the version before it"),
            Remedy("homeostat rollback --suspend-data", "the same, and train on none of its new examples again"),
        ),
        Phase.ROLLED_BACK: (
            Remedy("homeostat why {candidate}", "what the candidate learned from, and how the gate saw it"),
            _AGAIN,
        ),
        Phase.INCONCLUSIVE: (
            _POWER,
            Remedy("homeostat backtest", "what another policy would have said of the same traffic"),
            _AGAIN,
        ),
        Phase.DENIED: (
            Remedy("homeostat why {candidate}", "what the candidate learned from, and how the gate saw it"),
            _AGAIN,
        ),
        Phase.ABORTED: (_AGAIN,),
    }
)


def words(reason: str) -> str:
    """The sentence of a reason; a reason without one is its name, spelled out."""
    found = REASONS.get(reason)
    return found if found is not None else f"{reason.replace('_', ' ').capitalize()}."
