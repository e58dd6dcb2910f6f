from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedkit.recipe.load import load
from embedkit.run import train
from tests.tiny import sentences, tiny_bert

RECIPE = """\
model: {base: tiny, pooling: mean, max_length: 32, prompts: {query: "query: ", document: "passage: "}}
data: {sources: [{path: pairs.jsonl}]}
objective: {name: matryoshka, dims: [32, 8], objective: {name: infonce}}
train: {batch_size: 8, steps: 2, log_every: 1, device: cpu}
eval:
  suite:
    name: mine
    tasks:
      - {type: sts, name: Near or far, files: [sts.tsv]}
      - {type: retrieval, name: dev, folder: beir, ks: [1, 5]}
  resamples: 100
card:
  title: Words of two syllables
  license: cc-by-4.0
  languages: [en, deu]
  description: "Made for *tests*."
  tags: [syllables]
  benchmarks: [{task: dev, dataset: user/dev-set, task_id: main, revision: abc}]
"""


def material(folder: Path) -> Path:
    """A base, pairs, an evaluation set and a recipe; returns the folder."""
    tiny_bert(folder / "tiny")
    (folder / "tiny" / "README.md").write_text("---\nlicense: mit\nlanguage: fr\n---\n# tiny\n")
    texts = sentences(40)
    pairs = [json.dumps({"query": texts[i], "positive": texts[i + 1]}) for i in range(0, 32, 2)]
    (folder / "pairs.jsonl").write_text("\n".join(pairs) + "\n")
    rows = [f"{texts[i]}\t{texts[i + 1]}\t{i % 5}" for i in range(20)]
    (folder / "sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    beir = folder / "beir"
    (beir / "qrels").mkdir(parents=True)
    (beir / "corpus.jsonl").write_text("".join(f'{{"_id": "d{i}", "text": "{t}"}}\n' for i, t in enumerate(texts[:20])))
    (beir / "queries.jsonl").write_text("".join(f'{{"_id": "q{i}", "text": "{texts[i]} bade"}}\n' for i in range(8)))
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(8))
    (beir / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    (folder / "r.yaml").write_text(RECIPE)
    return folder


def run(folder: Path, *overrides: str, resume: bool = False, said: list[str] | None = None, out: str = "run") -> Any:
    """Train the recipe in `folder`; returns the record."""
    lines: list[str] = [] if said is None else said
    loaded = load(folder / "r.yaml", overrides)
    return train(
        loaded.recipe,
        folder / out,
        resume=resume,
        say=lambda line: lines.append(str(line)),
        progress=False,
    )


_TRAINED: list[Path] = []
"""One for all rooms that take the fixture from here."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; nobody writes here."""
    if not _TRAINED:
        folder = material(tmp_path_factory.mktemp("trained"))
        run(folder)
        _TRAINED.append(folder / "run")
    return _TRAINED[0]
