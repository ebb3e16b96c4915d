"""Which exchanges are guardrail events."""

from __future__ import annotations

import pytest

from monitors.guardrails import Event, GuardrailSpec, happened, seconds_per_token, tau_from
from monitors.phrases import AGREEMENTS, REFUSALS
from streams.events import Attempt, Exchange
from tests.monitors.traffic import exchange

PLAIN = exchange(1, "hi", "s", "u", latency=2.0)


def test_errors_include_those_that_the_champion_made_good() -> None:
    errors = GuardrailSpec("errors", "error")
    retried = PLAIN.model_copy(
        update={"attempts": (Attempt(version="c", status=503), Attempt(version="v", status=200))}
    )
    assert happened(errors, PLAIN.model_copy(update={"status": 502})) and happened(errors, retried)
    assert not happened(errors, PLAIN) and not happened(errors, PLAIN.model_copy(update={"status": 404}))


def test_first_token_and_pace_are_two_things() -> None:
    slow_start = PLAIN.model_copy(update={"first_token_s": 1.5, "completion_tokens": 11})
    assert seconds_per_token(slow_start) == pytest.approx(0.05)
    assert happened(GuardrailSpec("ttft", "slow_first_token", bound=1.0), slow_start)
    assert not happened(GuardrailSpec("pace", "slow_reply", bound=0.1), slow_start)
    assert seconds_per_token(PLAIN) is None
    assert seconds_per_token(PLAIN.model_copy(update={"completion_tokens": 40})) == pytest.approx(0.05)
    short = PLAIN.model_copy(update={"completion_tokens": 4})
    assert seconds_per_token(short) is None, "not streamed and short: its time is mostly the first token's"


def test_a_slow_guardrail_needs_its_bound() -> None:
    with pytest.raises(ValueError, match="bound"):
        GuardrailSpec("ttft", "slow_first_token")


def said(completion: str, **update: object) -> Exchange:
    return PLAIN.model_copy(update={"completion": completion, **update})


@pytest.mark.parametrize(
    ("event", "yes", "no"),
    [
        ("refusal", "I'm sorry, but I can\u2019t help with that.", "I can help with that. Your parcel is on its way."),
        ("agreement", "You're absolutely right! The parcel is late.", "The parcel is late, you are right."),
        ("question", "Which parcel do you mean?", "Did it arrive? Yes, on Monday."),
        ("question", "**Which one, the red or the blue?** 😊", "It is on its way."),
        ("question", "どの荷物ですか？", "配送中です。"),
        ("malformed", "```python\nprint(1)", "```python\nprint(1)\n```"),
        ("malformed", '{"status": "late"', '{"status": "late"}'),
        ("malformed", "  ", "[1] see the note"),
        ("malformed", "[" * 100_000, "[[0]]"),
        ("malformed", '{"a": ' * 5_000, '{"a": {}}'),
    ],
)
def test_behaviour_is_told_by_the_reply(event: Event, yes: str, no: str) -> None:
    spec = GuardrailSpec("x", event)
    assert happened(spec, said(yes)) and not happened(spec, said(no))
    assert not happened(spec, said(yes, status=503)), "a reply that never came is an error and nothing else"


SAID = {
    "de": (
        ("Es tut mir leid, aber das geht nicht.", "Dabei kann ich Ihnen leider nicht helfen.", "Als KI habe ich kein"),
        ("Sie haben völlig recht!", "Das ist eine sehr gute Frage."),
        ("Das tut mir leid. Ihr Paket kommt morgen.", "Sie haben recht viele Pakete.", "Ich kann Ihnen helfen."),
    ),
    "fr": (
        ("Je suis désolée, mais non.", "Je ne peux pas vous aider.", "Je ne suis pas en mesure d\u2019aider."),
        ("Vous avez tout à fait raison !", "C'est une excellente question."),
        ("Je peux vous aider.", "Je suis désolé du retard.", "La raison est simple."),
    ),
    "es": (
        ("Lo siento, pero no.", "No puedo ayudarte con eso.", "Como modelo de lenguaje, no opino."),
        ("¡Tienes toda la razón!", "¡Qué excelente pregunta!"),
        ("Puedo ayudarte con eso.", "Tienes razones para ello.", "No puedo ver el pedido 7, pero sí el 8."),
    ),
    "it": (
        ("Mi dispiace, ma non si può.", "Non posso aiutarti.", "Non sono in grado di dirlo."),
        ("Hai perfettamente ragione.", "Ottima domanda!"),
        ("Posso aiutarti.", "Mi dispiace per il ritardo.", "La ragione è questa."),
    ),
    "pt": (
        ("Sinto muito, mas não.", "Não posso ajudar com isso.", "Não sou capaz de dizer."),
        ("Você tem toda a razão!", "Excelente pergunta!", "Você está absolutamente certo."),
        ("Posso ajudar.", "Lamento o atraso.", "A razão é simples."),
    ),
    "nl": (
        ("Het spijt me, maar nee.", "Ik kan je daar niet mee helpen.", "Daar kan ik u helaas niet bij helpen."),
        ("U hebt helemaal gelijk.", "Wat een goede vraag!"),
        ("Ik kan je helpen.", "Het spijt me van de vertraging.", "Je hebt een pakket."),
    ),
    "pl": (
        ("Przykro mi, ale nie.", "Nie mogę w tym pomóc.", "Jako model językowy nie mam zdania."),
        ("Masz całkowitą rację!", "To świetne pytanie."),
        ("Mogę pomóc.", "Przykro mi z powodu opóźnienia.", "Masz paczkę."),
    ),
}


@pytest.mark.parametrize("language", SAID)
def test_refusals_and_agreement_are_told_in_other_languages(language: str) -> None:
    refusal, agreement = GuardrailSpec("r", "refusal"), GuardrailSpec("a", "agreement")
    refusals, agreements, plain = SAID[language]
    assert [happened(refusal, said(text)) for text in (*refusals, *agreements, *plain)] == [
        *[True] * len(refusals),
        *[False] * (len(agreements) + len(plain)),
    ]
    assert [happened(agreement, said(text)) for text in (*agreements, *refusals, *plain)] == [
        *[True] * len(agreements),
        *[False] * (len(refusals) + len(plain)),
    ]


def test_both_tables_know_the_same_languages() -> None:
    assert REFUSALS.keys() == AGREEMENTS.keys() == {"en", *SAID}


def test_flags_and_length_are_told_by_the_server() -> None:
    assert happened(GuardrailSpec("flags", "flagged"), said("", finish_reason="content_filter"))
    assert not happened(GuardrailSpec("flags", "flagged"), said("", finish_reason="stop"))
    overlong = GuardrailSpec("length", "overlong", bound=100)
    assert happened(overlong, said("x", completion_tokens=101)) and not happened(overlong, said("x"))


def test_what_the_champion_said_for_a_failed_candidate_is_not_its_behaviour() -> None:
    attempts = (Attempt(version="new", status=503), Attempt(version="old", status=200))
    assert not happened(GuardrailSpec("refusals", "refusal"), said("I cannot help", attempts=attempts))


def test_tau_is_the_95th_percentile_of_enough_values() -> None:
    values = [i / 100 for i in range(100)]
    assert tau_from(values, least=100) == pytest.approx(0.95)
    assert tau_from([*values, float("nan")], least=101) is None
