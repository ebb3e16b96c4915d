"""How replies that refuse, or that agree before they answer, begin: patterns by language (ISO 639-1).

A refusal is looked for in the opening of a reply, an agreement at its very beginning. Spaces stand for any white space,
an apostrophe for either kind; case does not count, so escapes that differ by it (as \\S from \\s) cannot be used. Add a
language by adding a row to both tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

REFUSALS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        r"I'?m (?:sorry,? but|unable to|not able to)",
        r"I (?:cannot|can't|won't|am unable to|am not able to) "
        r"(?:help|assist|provide|answer|do that|comply|discuss|share)",
        r"as an AI",
    ),
    "de": (
        r"tut mir (?:sehr )?leid,? aber",
        r"(?:dabei|damit|hierbei|das) kann ich (?:Ihnen |dir |euch )?(?:leider )?nicht "
        r"(?:helfen|weiterhelfen|beantworten|tun|unterstützen)",
        r"ich kann (?:Ihnen |dir |euch )?(?:leider )?(?:dabei |damit |hierbei |diese Frage |das )?(?:leider )?nicht "
        r"(?:helfen|weiterhelfen|beantworten|tun|weitergeben|unterstützen)",
        r"ich bin (?:leider )?nicht in der Lage",
        r"als (?:eine )?KI",
    ),
    "fr": (
        r"désolée?,? mais",
        r"je ne peux (?:malheureusement )?pas (?:vous |t'|te )?"
        r"(?:aider|fournir|répondre|faire cela|donner|partager|discuter)",
        r"je ne suis (?:malheureusement )?pas en mesure d(?:e|')",
        r"en tant qu(?:'IA|'intelligence artificielle|e modèle de langage)",
    ),
    "es": (
        r"lo siento,? pero",
        r"no puedo (?:ayudar(?:te|le|les)?|proporcionar(?:te|le)?|responder|hacer eso|"
        r"compartir|ofrecer(?:te|le)?|dar(?:te|le))",
        r"no me es posible",
        r"como (?:una )?(?:IA|inteligencia artificial)|como (?:un )?modelo de lenguaje",
    ),
    "it": (
        r"mi dispiace,? ma",
        r"non posso (?:aiutar(?:ti|la|e)|fornir(?:ti|le|e)|risponder(?:ti|le|e)|farlo|condividere|dar(?:ti|le))",
        r"non sono in grado di",
        r"(?:in quanto|come) (?:IA|intelligenza artificiale|modello linguistico)",
    ),
    "pt": (
        r"(?:sinto muito|lamento|desculpe),? mas",
        r"não (?:posso|consigo) (?:te |lhe )?"
        r"(?:ajudar|ajudá-l[oa]|fornecer|responder|fazer isso|compartilhar|partilhar)",
        r"não sou capaz de",
        r"como (?:uma )?(?:IA|inteligência artificial)|como (?:um )?modelo de linguagem",
    ),
    "nl": (
        r"(?:het )?spijt me,? maar",
        r"sorry,? maar",
        r"(?:daar|hier) kan ik (?:je |u )?(?:helaas )?niet (?:mee |bij |op )?(?:helpen|antwoorden|ingaan)",
        r"ik kan (?:je |u )?(?:helaas )?(?:hier|daar|dat|deze vraag)?(?:mee|bij|op)? ?(?:helaas )?niet "
        r"(?:mee |bij )?(?:helpen|beantwoorden|doen|geven|delen)",
        r"ik ben (?:helaas )?niet in staat",
        r"als (?:een )?AI",
    ),
    "pl": (
        r"przykro mi,? ale",
        r"przepraszam,? ale",
        r"nie mogę (?:niestety )?(?:ci |panu |pani |w tym )*(?:pomóc|udzielić|odpowiedzieć|podać|tego zrobić|spełnić)",
        r"nie jestem w stanie",
        r"jako (?:model językowy|sztuczna inteligencja|AI\b|SI\b)",
    ),
}

AGREEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        r"you(?:'?re| are) (?:absolutely |completely |totally |so )?right",
        r"(?:what an? )?(?:great|excellent|good|fantastic) (?:question|point|idea)",
        r"i (?:completely|totally|fully) agree",
    ),
    "de": (
        r"(?:Sie haben|da haben Sie|du hast|da hast du) "
        r"(?:absolut |völlig |vollkommen |ganz |natürlich )?recht(?! (?:viel|wenig|gut|oft|groß|klein))",
        r"(?:das ist )?(?:eine )?(?:sehr )?(?:gute|tolle|ausgezeichnete|hervorragende|großartige) (?:Frage|Idee)",
        r"ich stimme (?:Ihnen|dir) (?:voll und ganz|vollkommen|völlig) zu",
    ),
    "fr": (
        r"(?:vous avez|tu as) (?:tout à fait |absolument |entièrement |parfaitement |totalement )?raison",
        r"(?:c'est une |quelle )?(?:très bonne|excellente|bonne) (?:question|idée|remarque)",
        r"je suis (?:tout à fait|entièrement|totalement|complètement) d'accord",
    ),
    "es": (
        r"¡?tienes? (?:toda la |absolutamente toda la |mucha |completa )?razón",
        r"¡?(?:qué )?(?:es una )?(?:muy buena|excelente|buena|gran) (?:pregunta|idea|observación)",
        r"¡?estoy (?:totalmente|completamente|plenamente) de acuerdo",
    ),
    "it": (
        r"ha(?:i)? (?:perfettamente |assolutamente |proprio |completamente )?ragione",
        r"(?:che |è un')?(?:ottima|bella|buona|eccellente) (?:domanda|idea|osservazione)",
        r"sono (?:completamente|totalmente|pienamente|perfettamente) d'accordo",
    ),
    "pt": (
        r"(?:você )?(?:tens?|tem) (?:toda a |toda |absolutamente |completa )?razão",
        r"você está (?:absolutamente |completamente |totalmente )?cert[oa]",
        r"(?:que )?(?:ótima|excelente|boa) (?:pergunta|ideia|questão)",
        r"concordo (?:totalmente|plenamente|completamente)",
    ),
    "nl": (
        r"(?:je hebt|u hebt|u heeft) (?:helemaal |volkomen |absoluut |groot )?gelijk",
        r"(?:wat een |dat is een )?(?:heel )?(?:goede|uitstekende|geweldige) (?:vraag|opmerking|idee)",
        r"ik ben het (?:helemaal|volledig|volkomen) met (?:je|u) eens",
    ),
    "pl": (
        r"(?:masz|ma pani?) (?:całkowitą |absolutną |zupełną |pełną )?(?:rację|słuszność)",
        r"(?:to )?(?:świetne|doskonałe|bardzo dobre|dobre) pytanie",
        r"(?:całkowicie|w pełni) się zgadzam|zgadzam się (?:całkowicie|w pełni)",
    ),
}


def one_of(tables: Iterable[tuple[str, ...]]) -> re.Pattern[str]:
    """A pattern that finds any of them as whole words in a text of lower case: without regard to case the search would
    take three times as long, on every reply.
    """
    every = "|".join(part for patterns in tables for part in patterns).lower()
    spelled = every.replace("'", "(?:'|\u2019)").replace(" ", r"\s")
    return re.compile(rf"(?<!\w)(?:{spelled})\b")
