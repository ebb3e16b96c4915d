"""Languages are told from short prompts, and a drift of the language is named in the alarm's evidence."""

from __future__ import annotations

import random

import pytest

from monitors.alarms import AlarmKind
from monitors.language import language_of, risen
from monitors.watch import Watch, WatchConfig
from tests.monitors.foreign import foreign
from tests.monitors.traffic import exchange, prompt

SENTENCES = {
    "en": ["where has my order gone", "Can I change the delivery date?", "The screen stays black after the update."],
    "de": ["Wo bleibt meine Bestellung?", "Die Rechnung stimmt nicht.", "Kann ich das Passwort ändern?"],
    "fr": ["Où est passée ma commande ?", "Je n'arrive pas à me connecter.", "La facture est trop élevée."],
    "es": ["¿Dónde está mi pedido?", "No puedo entrar en mi cuenta.", "Quiero cambiar la fecha de entrega"],
    "it": ["Dov'è il mio ordine?", "Non riesco ad accedere al mio conto.", "Vorrei cambiare la data della consegna"],
    "pt": ["Onde está o meu pedido?", "Não consigo entrar na minha conta.", "Quero mudar a data da entrega"],
    "nl": ["Waar blijft mijn bestelling?", "Ik kan niet inloggen.", "De rekening klopt niet met het bedrag."],
    "pl": ["Gdzie jest moje zamówienie?", "Nie mogę się zalogować.", "Chcę zmienić datę dostawy."],
    "cs": ["Kde je moje objednávka?", "Nemůžu se přihlásit.", "Chci změnit datum doručení, prosím."],
    "sv": ["Var är min beställning?", "Jag kan inte logga in.", "Fakturan är för hög och stämmer inte."],
    "da": ["Hvor er min bestilling?", "Jeg kan ikke logge på.", "Fakturaen er for høj og passer ikke."],
    "fi": ["Missä minun tilaukseni on?", "En voi kirjautua sisään.", "Haluan vaihtaa toimituspäivän."],
    "ro": ["Unde este comanda mea?", "Nu pot să intru în cont.", "Vreau să schimb data livrării."],
    "hu": ["Hol van a rendelésem?", "Nem tudok belépni.", "Szeretnék egy új dátumot."],
    "tr": ["Siparişim nerede?", "Giriş yapamıyorum, neden?", "Teslimat tarihini değiştirmek istiyorum."],
    "id": ["Di mana pesanan saya?", "Saya tidak bisa masuk ke akun.", "Bagaimana mengubah tanggal pengiriman?"],
    "vi": ["Đơn hàng của tôi đâu?", "Tôi không thể đăng nhập.", "Làm sao để đổi ngày giao hàng?"],
    "ru": ["Где мой заказ?", "Не могу войти."],
    "uk": ["Де моє замовлення?", "Не можу увійти, підкажіть."],
    "el": ["Πού είναι η παραγγελία μου;"],
    "ar": ["أين طلبي؟"],
    "fa": ["سفارش من کجاست؟ چرا"],
    "he": ["איפה ההזמנה שלי?"],
    "hi": ["मेरा ऑर्डर कहाँ है?"],
    "th": ["คำสั่งซื้อของฉันอยู่ที่ไหน"],
    "ko": ["제 주문은 어디에 있나요?"],
    "ja": ["注文はどこですか", "請求書の金額が違います"],
    "zh": ["我的订单在哪里？"],
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_short_prompt_tells_its_language(language: str) -> None:
    assert [language_of(sentence) for sentence in SENTENCES[language]] == [language] * len(SENTENCES[language])


@pytest.mark.parametrize("text", ["", "12 345", "?!", "ok", "x = f(y)", "RTX 4090", "café"])
def test_what_does_not_tell_is_no_language(text: str) -> None:
    assert language_of(text) == "und"


def test_only_a_rise_beyond_chance_is_named() -> None:
    rng = random.Random(1)
    english, spanish = ["where is my parcel"], [foreign("es", rng) for _ in range(40)]
    found = risen(english * 400, english * 80 + spanish[:20])
    assert found is not None and (found.language, found.before, found.since) == ("es", 0.0, 0.2)
    assert risen(english * 380 + spanish[:20], english * 95 + spanish[:5]) is None
    assert risen(english * 400, english * 98 + spanish[:2]) is None, "two in a hundred are no drift of the language"
    assert risen([], english) is None and risen(english, []) is None
    assert risen(spanish, ["7 x 3"] * 40) is None, "numbers are no language"


@pytest.mark.slow
@pytest.mark.parametrize("language", ["es", "pl"])
def test_the_alarm_names_the_language_that_a_fifth_of_the_traffic_turned_to(language: str) -> None:
    watch, rng = Watch(WatchConfig(reference_size=400, recent_size=600), seed=3), random.Random(f"turn/{language}")
    for index in range(1_600):
        text = foreign(language, rng) if index >= 800 and rng.random() < 0.2 else prompt(rng.choice("abcd"), rng)
        alarms = [a for a in watch.observe_exchange(exchange(index, text, f"s{index}", f"u{index % 400}")) if a.acts]
        if alarms:
            break
    else:
        pytest.fail("no alarm")
    assert index >= 800 and alarms[0].kind is AlarmKind.INPUT
    assert alarms[0].evidence["language"] == language
    assert alarms[0].evidence["language_before"] == 0.0
    assert 0.05 <= float(str(alarms[0].evidence["language_since"])) <= 0.6
