"""Event types: what the gateway and the users' backends put on the log.

On the wire every event is a CloudEvents 1.0 structured-JSON envelope (see ``codec``); these are the ``data`` of it.
Times are wall-clock seconds since the epoch (UTC), durations are seconds, token counts are tokens.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = "1"
"""Version of the ``data`` layout; carried in the envelope as ``homeostatschema``."""

Arm = Literal["control", "canary", "holdback"]
"""``holdback``: the session stays on the frozen anchor of a standing holdback and is no unit of any rollout."""


class Frozen(BaseModel):
    """Base of all events: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Trust(StrEnum):
    """How a feedback proved that it belongs to its exchange, strongest first."""

    TOKEN = "token"
    PRODUCER = "producer"
    BARE = "bare"


class FeedbackKind(StrEnum):
    """The shapes of feedback; the reward function orders them."""

    THUMB = "thumb"
    RATING = "rating"
    CORRECTION = "correction"
    PREFERENCE = "preference"
    OUTCOME = "outcome"


SYSTEM_ROLES: Final = frozenset(("system", "developer"))
"""Roles of messages that say how to answer, and are no turn of the conversation."""


class Message(Frozen):
    """One chat message as the client sent it (after redaction)."""

    role: Annotated[str, Field(max_length=32)]
    content: str


class Attempt(Frozen):
    """One try at serving a request: a failing candidate that was retried on the champion leaves two."""

    version: str
    status: int


class Sampling(Frozen):
    """How a reply was to be drawn, as the request said it: numbers alone. None is the server's own default."""

    temperature: Annotated[float | None, Field(ge=0, le=1000, allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    top_k: Annotated[int | None, Field(ge=-1, le=2**31)] = None
    min_p: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    presence_penalty: Annotated[float | None, Field(ge=-100, le=100, allow_inf_nan=False)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-100, le=100, allow_inf_nan=False)] = None
    repetition_penalty: Annotated[float | None, Field(ge=0, le=100, allow_inf_nan=False)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    max_tokens: Annotated[int | None, Field(ge=0, le=2**31)] = None
    """Tokens that the reply may take."""
    stops: bool = False
    """Whether the reply was also to end at strings or tokens of the client's; they are text, so they are not kept."""
    shaped: bool = False
    """Whether the request also held a format, tools, biases or a template: without them it is another request."""

    @property
    def repeatable(self) -> bool:
        """Whether messages and these numbers are the whole request."""
        return not (self.stops or self.shaped)

    @property
    def numbers(self) -> dict[str, float]:
        """What was said, under the names of the OpenAI API."""
        return self.model_dump(exclude_none=True, exclude={"stops", "shaped"})


class Exchange(Frozen):
    """One request and its response, captured by the gateway."""

    exchange_id: str
    """UUIDv7 minted by the gateway."""
    client_request_id: str | None = None
    deployment: str
    tenant: str
    session: str
    """Session key (CONTRACTS: the Kafka key and CloudEvents subject)."""
    session_derived: bool = False
    """True when the key was hashed from the conversation because the client sent none."""
    identity: str
    """Whom caps count: a salted hash, never the client's own name."""
    messages: tuple[Message, ...]
    completion: str
    finish_reason: str | None = None
    sampling: Sampling | None = None
    """None: captured by an older gateway, or the request could not be read."""
    version: str
    """Version that answered; the served base's own name when no adapter did."""
    rollout: str | None = None
    """Rollout, or holdback, that the session was drawn in; its id salts the draw."""
    arm: Arm | None = None
    propensity: float | None = None
    """Probability with which the session was assigned to ``canary`` (``holdback``: to be held back); None outside."""
    route_epoch: int = 0
    received_at: float
    dispatched_at: float
    """When the request was handed to the engine under ``version``."""
    completed_at: float
    first_token_s: float | None = None
    status: int
    attempts: tuple[Attempt, ...] = ()
    streamed: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_token_ids: tuple[int, ...] | None = None
    surprisal: float | None = None
    """Mean negative log-probability (nats) of the served tokens, where log-probabilities were sampled."""

    @property
    def usual_version(self) -> bool:
        """Whether its reply counts for the usual levels: a canary's is the rollout's to judge, a holdback's is another
        version's.
        """
        return self.arm not in ("canary", "holdback")

    @property
    def latency_s(self) -> float:
        """Seconds from arrival to the last byte."""
        return self.completed_at - self.received_at

    @property
    def prompt(self) -> str:
        """Text of the newest user message, or the empty string."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


class Feedback(Frozen):
    """A signal about an exchange."""

    feedback_id: str
    exchange_id: str
    deployment: str
    tenant: str
    session: str | None = None
    """From the token where there is one; else as the producer says; else unknown until joined."""
    identity: str | None = None
    kind: FeedbackKind
    name: str = "feedback"
    value: bool | float | str | None = None
    """thumb: bool; rating: number; outcome: accepted | retried | escalated; preference: chosen text."""
    rating_min: float = 1.0
    rating_max: float = 5.0
    correction: str | None = None
    comment: str | None = None
    choice: int = 0
    trust: Trust
    token_expiry: float | None = None
    sent_at: float


class DeadLetter(Frozen):
    """An event that could not be used, with the reason; the original bytes are kept, base64, cut to 64 KiB."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    payload_b64: str
    at: float
