"""What a batch of records brings: which events are ours, how far each is trusted, which are new."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.batch import Batch
from daemon.quarantine import Quarantine
from daemon.store import exchanges, feedback, sessions
from daemon.store.open import Tx
from streams.codec import Decoded, decode
from streams.dead_letters import Reason, dead_letter
from streams.events import DeadLetter, Exchange, Feedback, Trust
from streams.log import Record
from streams.redact import redact_feedback

TokenIsValid = Callable[[str, Exchange | None, Feedback, float], bool]
"""(token, its exchange where that is known, the feedback that it came with, now)."""


def take(
    records: Sequence[Record],
    batch: Batch,
    deployment: str,
    token_is_valid: TokenIsValid,
    quarantine: Quarantine,
    now: float,
) -> list[Decoded]:
    """The events of this deployment, in order; what cannot be used becomes a letter of the batch."""
    decoded: list[Decoded] = []
    for record in records:
        fault = quarantine.fault_of(record)
        found = decode(record) if fault is None else _set_aside(record, fault, now)
        if not isinstance(found, Decoded):
            batch.letters.append(found)
        elif found.event.deployment != deployment:
            batch.counts["other_deployments"] += 1
        elif isinstance(found.event, Exchange):
            decoded.append(found)
        elif found.event.trust is Trust.PRODUCER:
            # the gateway redacts what passes through it; a backend's own words come here first
            decoded.append(found._replace(event=redact_feedback(found.event)[0]))
        else:
            # before it is stored: what a restart reads back must be trusted no more than it was
            checked = _checked(found, found.event, token_is_valid, now)
            decoded.append(found if checked is found.event else found._replace(event=checked))
    return decoded


def _set_aside(record: Record, fault: str, now: float) -> DeadLetter:
    detail = f"homeostat failed on this event with {fault}: please report it with the event"
    return dead_letter(record, Reason.PROCESSING_FAILED, detail, now)


def _checked(item: Decoded, event: Feedback, token_is_valid: TokenIsValid, now: float) -> Feedback:
    """Feedback whose token does not hold counts as bare: anybody could have written it to the topic."""
    if event.trust is not Trust.TOKEN:
        return event
    if item.token is not None and token_is_valid(item.token, None, event, now):
        return event
    return event.model_copy(update={"trust": Trust.BARE})


def insert_new(tx: Tx, decoded: Sequence[Decoded]) -> tuple[set[str], set[str], set[str]]:
    """Store what is new: (new exchange ids, new feedback ids, exchanges that begin a session)."""
    found: list[Exchange] = []
    said: list[Feedback] = []
    for one in decoded:
        if isinstance(one.event, Exchange):
            found.append(one.event)
        else:
            said.append(one.event)
    fresh = exchanges.insert_new(tx, found)
    begins: dict[str, sessions.Session] = {}
    for x in found:
        if x.exchange_id in fresh:
            begins.setdefault(x.session, sessions.Session(x.deployment, x.session, x.received_at, x.exchange_id))
    new_sessions = sessions.insert_new(tx, list(begins.values()))
    return fresh, feedback.insert_new(tx, said), {begins[key].first_exchange for key in new_sessions}
