"""The audit of mined negatives: what it says, and that texts of others are only texts in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.mining.assembly import Assembly
from embedkit.mining.miner import Miner
from embedkit.mining.problem import Problem
from embedkit.mining.suspects import Suspects
from embedkit.publish.audit import LONGEST, Audit, write_audit
from embedkit.recipe.mining import Search
from embedkit.vectors.store import VectorStore
from tests.mining.worlds import World, problem
from tests.publish.test_report import ATTACK, Page


def audit(folder: Path, given: Problem, world: World | None = None, **search: Any) -> Audit:
    world = world or World()
    miner = Miner(given, Search(**{"depth": 20, "keep": 4, **search}), VectorStore(folder / "store"))
    suspects = Suspects(given)
    table = miner.mine(world.by, seen=suspects)
    report = table.report
    counts = {"queries": len(given.queries), "positives": sum(map(len, given.positives))}
    counts |= {"documents": len(given.documents)} | {n: report[n] for n in ("candidates", "negatives", "without")}
    about = {
        "model": {"name": "a model", "fingerprint": "f" * 64},
        "settings": miner.search.model_dump(mode="json"),
        "counts": counts,
        "filters": report["removed"],
        "index": report["index"],
    }
    return Audit(given, table, miner.positive_scores(world.by), suspects, about, "mined.parquet")


def page(folder: Path, made: Audit) -> tuple[str, Page]:
    text = write_audit(folder / "audit", made).read_text(encoding="utf-8")
    return text, Page(text)


def test_it_says_what_was_found(tmp_path: Path) -> None:
    made = audit(tmp_path, problem())
    _, read = page(tmp_path, made)
    assert "48 of 240 retrieved documents" in read.text
    assert "12 with 24 positives; 0 (0.0%) have no negative" in read.text
    assert "exact search over 60 vectors of 8 dimensions" in read.text
    known = made.about["filters"]["known positives"]
    assert f"known positives {known} {100 * known / 240:.1f} %" in read.text
    total = sum(made.suspects.counts.values())
    assert f"{total} retrieved documents score as high as the lowest positive" in read.text and total > 0
    first = made.suspects.worst[0]
    assert f"{first.score:.3f} against {first.positive_score:.3f} of the positive, rank {first.rank}" in read.text
    assert read.text.count("became a negative") == sum(s.fate == "negative" for s in made.suspects.worst)
    assert f"Positives have a median similarity of {np.median(made.positive_scores):.3f}" in read.text
    assert f"Negatives have ranks 1 to {made.table.rank.max()}" in read.text


def test_it_needs_no_other_file_and_runs_nothing(tmp_path: Path) -> None:
    text, read = page(tmp_path, audit(tmp_path, problem()))
    assert [p.name for p in (tmp_path / "audit").iterdir()] == ["index.html"]
    assert "default-src 'none'" in text and not re.search(r"(src|href)=\"(?!#)", text)
    assert not {tag for tag, _ in read.tags} & {"script", "link", "img", "iframe"}
    assert len(re.findall(r"<svg", text)) == 2


def test_texts_ids_and_the_name_of_the_file_are_only_texts(tmp_path: Path) -> None:
    gathered = Assembly()
    texts = [f"{ATTACK} \x1b[31m \u202e {'long ' * 300}{i:08d}" for i in range(30)]
    for i in range(6):
        gathered.query(f"{ATTACK} {i + 100:08d}", [texts[i]], f"<u>{i}</u>")
    for i, text in enumerate(texts):
        gathered.document(text, f"{ATTACK}{i}")
    made = audit(tmp_path, gathered.finish())
    assert made.suspects.worst, "there are texts to be shown"
    text, read = page(tmp_path, Audit(**{**vars(made), "name": f"{ATTACK}.parquet"}))
    assert "<script" not in text and "<u>" not in text
    assert '<script>alert("x")</script>' in read.text and "{{ 7 * 7 }}" in read.text
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b" in text
    assert max(map(len, read.texts)) <= LONGEST + 500, "long texts are cut"


@pytest.mark.parametrize("known", [True, False])
def test_one_query_and_one_document(tmp_path: Path, known: bool) -> None:
    """No negatives, or no positives: there is still a page."""
    gathered = Assembly()
    gathered.query("query 1", ["document 1"] if known else [])
    gathered.document("document 1")
    _, read = page(tmp_path, audit(tmp_path, gathered.finish()))
    assert ("1 (100.0%) have no negative" in read.text) is known
    assert "None: no document scores as high" in read.text


def test_many_ranks_share_bars_without_losing_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedkit.publish import audit as module

    drawn: list[tuple[np.ndarray, np.ndarray]] = []
    real = np.histogram
    monkeypatch.setattr(module.np, "histogram", lambda *a: drawn.append(real(*a)) or drawn[-1])
    made = audit(tmp_path, problem(12, 200), depth=190, keep=150)
    page(tmp_path, made)
    counts, edges = drawn[-1]
    assert counts.sum() == made.about["counts"]["negatives"] and len(counts) == module.BINS
    assert edges[0] == 0.5 and edges[-1] == made.table.rank.max() + 0.5 and (edges % 1 == 0.5).all()
