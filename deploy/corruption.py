"""Replies that no model would give: what an engine that computes with NaN, or with a broken cache, says with 200.

Not-a-number logits make every sampler pick one token for good: a run of one character, or nothing at all where that
token is a special one. A broken cache or vocabulary gives bytes that are no text. Word salad in whole words is not told
from a bad answer by this; people's feedback tells it.
"""

from __future__ import annotations

from typing import Final

from streams.events import Exchange

RUN: Final = 32
"""Characters at the end of a reply that are one and the same; a rule under a table is rarely as long."""
WHOLE: Final = 8
"""Characters of a short reply that is nothing but one of them."""
TOKENS: Final = 16
"""Ids at the end of a reply that are one and the same: a NaN may begin in the middle of it."""
UNTEXT: Final = 3
"""Replacement characters; one alone is an emoji that the length limit cut."""


def corrupted(exchange: Exchange) -> bool:
    """Whether an answered exchange has such a reply.

    One whose text is not there (forgotten, or unreadable) says nothing, nor does an empty one of a request with tools
    or a format, where the reply stands elsewhere, or of fewer than two tokens.
    """
    if exchange.status >= 400 or not exchange.messages:
        return False
    text = exchange.completion.strip()
    if not text:
        shaped = exchange.sampling is not None and exchange.sampling.shaped
        elsewhere = shaped or exchange.finish_reason in ("tool_calls", "function_call", "content_filter")
        return not elsewhere and (exchange.completion_tokens or 0) > 1
    tail = text[-RUN:]
    if len(tail) >= WHOLE and len(set(tail)) == 1:
        return True
    ids = (exchange.completion_token_ids or ())[-TOKENS:]
    return (len(ids) == TOKENS and len(set(ids)) == 1) or text.count("\ufffd") >= UNTEXT
