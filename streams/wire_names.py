"""Names of fields on the wire, in one place: OpenTelemetry's ``gen_ai.*`` conventions are still "development" and move.

Where a field means what the convention means it carries the convention's name, else its own. A changed name raises
``events.SCHEMA_VERSION``.
"""

from __future__ import annotations

from typing import Final

EXCHANGE: Final[dict[str, str]] = {
    "deployment": "gen_ai.request.model",
    "session": "gen_ai.conversation.id",
    "messages": "gen_ai.input.messages",
    "version": "gen_ai.response.model",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}

FEEDBACK: Final[dict[str, str]] = {
    "deployment": "gen_ai.request.model",
    "session": "gen_ai.conversation.id",
    "name": "gen_ai.evaluation.name",
    "value": "gen_ai.evaluation.score.value",
    "comment": "gen_ai.evaluation.explanation",
}


def exchange_name(field: str) -> str:
    """Wire name of a field of ``Exchange``."""
    return EXCHANGE.get(field, field)


def feedback_name(field: str) -> str:
    """Wire name of a field of ``Feedback``."""
    return FEEDBACK.get(field, field)
