"""Labels that are wanted: scope ``read``; what people wrote, only with ``operate``."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, HTTPException, Request

from daemon.api.access import Reader, state
from daemon.api.ports import Json
from daemon.label_requests import load
from daemon.store import exchanges
from daemon.wanted_labels import wanted

router = APIRouter(prefix="/api/v1", tags=["labels"])


@router.get("/labels")
def labels(request: Request, who: Reader, text: bool = False) -> Json:
    """Requests, oldest first, and the exchanges that the open ones would have rated, the most informative first.

    ``text`` adds prompt and reply, which 403 refuses without the scope ``operate``.
    """
    if text and "operate" not in who.scopes:
        message = f"{who.name} has the scopes {', '.join(sorted(who.scopes))}; the text of exchanges needs operate"
        raise HTTPException(403, {"reason": "missing_scope", "message": message})
    found = state(request)
    with found.store.read() as read:
        requests = load(read)
        listed: list[Json] = [asdict(one) for one in wanted(read, requests, found.config, found.clock())]
        if text:
            known = exchanges.get_many(read, [one["exchange_id"] for one in listed])
            for one in listed:
                exchange = known[one["exchange_id"]]
                one |= {"prompt": exchange.prompt, "reply": exchange.completion}
    return {"requests": [r.to_dict() | {"left": r.left} for r in requests], "exchanges": listed}
