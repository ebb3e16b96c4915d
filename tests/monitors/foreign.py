"""Made-up questions in other languages, for drift of the language: frames and things of a support desk."""

from __future__ import annotations

import random

_FRAMES = {
    "es": (
        "¿cómo puedo cambiar {n}?",
        "no encuentro {n} en mi cuenta",
        "quiero cancelar {n} hoy mismo",
        "me cobraron dos veces por {n}",
        "¿cuándo llega {n}?",
        "necesito ayuda con {n}, por favor",
        "¿dónde está {n} que pedí la semana pasada?",
        "{n} no funciona desde ayer",
        "hola, ¿se puede devolver {n} sin recibo?",
    ),
    "pl": (
        "jak mogę zmienić {n}?",
        "nie widzę {n} na moim koncie",
        "chcę dzisiaj zrezygnować, chodzi o {n}",
        "dwa razy pobrano opłatę za {n}",
        "kiedy będzie {n}?",
        "proszę o pomoc, {n} nie działa",
        "gdzie jest {n}, czekam już tydzień",
        "od wczoraj mam kłopot: {n}",
        "dzień dobry, czy {n} można oddać bez paragonu?",
    ),
}
_THINGS = {
    "es": (
        "mi tarjeta",
        "el paquete",
        "la factura",
        "el pedido",
        "mi contraseña",
        "la suscripción",
        "el reembolso",
        "la dirección de envío",
        "el vuelo a Madrid",
        "la garantía",
        "el teléfono nuevo",
        "mi seguro",
    ),
    "pl": (
        "moja karta",
        "paczka",
        "faktura",
        "zamówienie",
        "hasło",
        "abonament",
        "zwrot pieniędzy",
        "adres dostawy",
        "lot do Warszawy",
        "gwarancja",
        "nowy telefon",
        "ubezpieczenie",
    ),
}


def foreign(language: str, rng: random.Random) -> str:
    """A question in ``es`` or ``pl``."""
    return rng.choice(_FRAMES[language]).format(n=rng.choice(_THINGS[language]))
