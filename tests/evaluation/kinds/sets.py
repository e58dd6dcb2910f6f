"""Small labelled sets, made of words that a hashing encoder tells apart more or less well."""

from __future__ import annotations

import json
import random
from pathlib import Path

TOPICS = {
    "fruit": ["apple", "pear", "plum", "cherry", "grape", "melon", "peach"],
    "tools": ["hammer", "saw", "drill", "wrench", "chisel", "plane", "file"],
    "music": ["violin", "flute", "cello", "drum", "harp", "oboe", "horn"],
}
FILLING = ["the", "old", "red", "small", "one", "that", "stands", "near", "my", "house", "by", "now"]


def labelled(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts of two words of a topic among words of none, with the topic; one in ten has a word of another."""
    draw = random.Random(seed)
    rows = []
    for i in range(count):
        topic = list(TOPICS)[i % len(TOPICS)]
        other = draw.choice(list(TOPICS.values())) if i % 10 == 0 else TOPICS[topic]
        words = [*draw.sample(TOPICS[topic], 1), draw.choice(other), *draw.sample(FILLING, 4), str(i)]
        draw.shuffle(words)
        rows.append((" ".join(words), topic))
    return rows


def write_labels(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return path


def write_all(folder: Path) -> Path:
    """Files of every kind, and a suite of them."""
    write_labels(folder / "train.tsv", labelled(60, 1))
    write_labels(folder / "test.tsv", labelled(45, 2))
    draw = random.Random(3)
    rows = labelled(90, 4)
    pairs, bitext = ["sentence1\tsentence2\tlabel"], ["sentence1\tsentence2"]
    for (text, topic), (other, another) in zip(rows[:45], rows[45:], strict=True):
        words = text.split()
        match = draw.random() < 0.4
        pairs.append(f"{text}\t{' '.join([*words[:3], *other.split()[4:]]) if match else other}\t{int(match)}")
        bitext.append(f"{text}\t{' '.join(draw.sample(words, 4))} {another if topic == another else ''}")
    (folder / "pairs.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    (folder / "bitext.tsv").write_text("\n".join(line.strip() for line in bitext) + "\n", encoding="utf-8")
    lines = []
    for i, (text, topic) in enumerate(labelled(20, 5)):
        own = [other for other, label in rows if label == topic]
        rest = [other for other, label in rows if label != topic]
        row = {"query": text, "positive": draw.sample(own, 1 + i % 3), "negative": draw.sample(rest, 4 + i % 5)}
        lines.append(json.dumps(row))
    (folder / "rerank.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    suite = folder / "kinds.yaml"
    suite.write_text(
        """name: kinds
tasks:
  - type: classification
    name: Own-topics
    train: [train.tsv]
    files: [test.tsv]
    samples_per_label: 4
    experiments: 5
  - {type: clustering, name: Own-clusters, files: [test.tsv]}
  - {type: pair_classification, name: Own-pairs, files: [pairs.tsv]}
  - {type: reranking, name: Own-order, files: [rerank.jsonl]}
  - {type: bitext, name: Own-bitext, files: [bitext.tsv]}
""",
        encoding="utf-8",
    )
    return suite
