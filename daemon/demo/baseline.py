# pyright: basic
"""How hard the world is: TF-IDF and logistic regression, trained on the corrections that the users sent."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.demo.places import Question


def tfidf_accuracy(corrections: Sequence[tuple[str, str]], questions: Sequence[Question]) -> float | None:
    """Share of questions whose right reply is what the classifier names; None with fewer than two classes to learn.

    ``corrections`` are (question text, corrected reply) pairs. Word 1-2-grams and character 2-4-grams, C = 10: what a
    person would try first on short intents.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    if len({target for _, target in corrections}) < 2 or not questions:
        return None
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=400))
    model.fit([text for text, _ in corrections], [target for _, target in corrections])
    guesses = model.predict([q.text for q in questions])
    return sum(q.answered_by(str(g)) for q, g in zip(questions, guesses, strict=True)) / len(questions)
