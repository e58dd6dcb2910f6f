"""Every name makes its filter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import EmbedkitError
from embedkit.mining.filters import named as module
from embedkit.mining.filters.named import Setting, build
from embedkit.mining.filters.scores import MarginToPositive, RankWindow, ScoreWindow
from embedkit.mining.miner import Miner
from embedkit.recipe.filters import FILTERS, parse_all
from embedkit.recipe.mining import Search
from embedkit.vectors.store import VectorStore
from tests.mining.worlds import World, problem
from tests.tiny import tiny_bert


def test_every_name_has_a_maker() -> None:
    assert list(module._MAKERS) == list(FILTERS)


def test_rules_on_the_search_itself(tmp_path: Path) -> None:
    texts = ["rank=50:100", "rank=:9", "score=:0.8", "margin=0.95", "absolute-margin=0.1"]
    made = build(parse_all(texts), Setting(problem(), VectorStore(tmp_path)))
    share = made[3]
    assert isinstance(share, MarginToPositive) and share.threshold(np.array([0.8, -0.8])) == pytest.approx(
        [0.76, -0.84]
    )
    wanted = [RankWindow(50, 100), RankWindow(1, 9), ScoreWindow(None, 0.8), MarginToPositive(0.1, "absolute")]
    assert [*made[:3], made[4]] == wanted


def test_scores_and_a_guide_filter_a_search(tmp_path: Path) -> None:
    given, store = problem(), VectorStore(tmp_path / "store")
    file = tmp_path / "s.jsonl"
    rows = [
        {"query_id": q, "document_id": d, "score": (i + j) % 10}
        for i, q in enumerate(given.query_ids)
        for j, d in enumerate(given.document_ids)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = tiny_bert(tmp_path / "guide")
    setting = Setting(given, store, device="cpu")
    filters = build(parse_all([f"scores={file},below=4", f"guide={base},margin=0.99"]), setting)
    table = Miner(given, Search(depth=30, keep=30), store, filters=filters).mine(World().by)
    assert all((i + row) % 10 < 4 for i in range(len(table)) for row in table.negatives(i))
    removed = table.report["removed"]
    assert removed["scores below 4"] > 0 and removed["guide margin 0.99"] > 0 and table.report["negatives"] > 0


def test_a_judge_needs_a_language_model(tmp_path: Path) -> None:
    with pytest.raises(EmbedkitError, match="no language model"):
        build(parse_all(["judge=m"]), Setting(problem(), VectorStore(tmp_path)))


def test_naming_filters_imports_nothing_heavy() -> None:
    code = (
        "import sys; from embedkit.mining.filters import named; from embedkit.recipe.filters import parse\n"
        "parse('margin=0.95'); heavy = {'numpy', 'torch', 'pydantic', 'sentence_transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
