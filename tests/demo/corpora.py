"""Small corpora in every layout, written into a folder: made of words, so that no data set is needed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

Row = tuple[str, str, str]


def rows(groups: int, labels: int, texts: int, prefix: str) -> list[Row]:
    """`texts` different messages for each of `labels` labels in each of `groups` groups: (text, label, group)."""
    return [
        (f"{prefix} message {t} about topic {g} {x}", f"label_{g}_{x}", f"group-{g}")
        for g in range(groups)
        for x in range(labels)
        for t in range(texts)
    ]


def write_csv(path: Path, header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """A CSV file with that header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(body)


def grouped_folder(folder: Path, groups: int = 4, labels: int = 5, train: int = 80, test: int = 80) -> Path:
    """train.csv and test.csv with text,label,group."""
    write_csv(folder / "train.csv", ("text", "label", "group"), rows(groups, labels, train, "live"))
    write_csv(folder / "test.csv", ("text", "label", "group"), rows(groups, labels, test, "test"))
    return folder


def category_folder(folder: Path, labels: int = 30, train: int = 60, test: int = 60) -> Path:
    """train.csv and test.csv with text,category and no group."""
    for name, count in (("train", train), ("test", test)):
        body = [(text, label.replace("label", "card")) for text, label, _ in rows(1, labels, count, name)]
        write_csv(folder / f"{name}.csv", ("text", "category"), body)
    return folder


def domains_folder(folder: Path, groups: int = 4, labels: int = 5, train: int = 60, test: int = 80) -> Path:
    """data_full.json with out-of-scope parts, and domains.json."""
    parts = {
        "train": rows(groups, labels, train, "train"),
        "val": rows(groups, labels, 20, "val"),
        "test": rows(groups, labels, test, "test"),
    }
    splits: dict[str, list[tuple[str, str]]] = {n: [(t, x) for t, x, _ in body] for n, body in parts.items()}
    splits["oos_train"] = [("what is this", "oos")]
    domains: dict[str, list[str]] = {}
    for _, label, group in parts["train"]:
        if label not in domains.setdefault(group, []):
            domains[group].append(label)
    (folder / "data_full.json").write_text(json.dumps(splits), "utf-8")
    (folder / "domains.json").write_text(json.dumps(domains), "utf-8")
    return folder
