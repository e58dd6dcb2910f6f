"""Every shipped recipe is found, says what it is, passes the check, and trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedkit.recipe.load import list_recipes, load
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Source
from tests.tiny import sentences, tiny_bert

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in sorted(FOLDER.rglob("*.y*ml"))]
BATCH = 8
PACKAGES = '["rich", "jinja2"]'


def test_all_are_found() -> None:
    assert {"quickstart", "unsup/simcse", "sup/simcse", "retrieval/infonce", "sts/cosent"} <= set(RECIPES)
    assert [path.relative_to(FOLDER).with_suffix("").as_posix() for path in list_recipes()] == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_head_says_what_it_is(name: str) -> None:
    head = [line[2:] for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if line.startswith("# ")]
    marks = {line.split(maxsplit=1)[0] for line in head if line[:1].isalpha()}
    assert marks & {"Paper", "Method"}
    assert marks & {"Needs", "Data"}
    assert {"Command", "Result"} <= marks
    assert f"embedkit train {name} " in " ".join(head) + " "


@pytest.mark.parametrize("name", RECIPES)
def test_the_plan_refuses_nothing(name: str) -> None:
    recipe = load(name).recipe
    made = plan(recipe, rows=[100_000] * len(recipe.data.sources))
    assert [str(r) for r in made.refusals] == []
    assert made.updates is not None


@pytest.mark.parametrize("name", RECIPES)
def test_two_updates(name: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from embedkit.run import train

    overrides = [
        f"model.base={tiny_bert(tmp_path / 'tiny', positions=512)}",
        "train.steps=2",
        "train.log_every=1",
        f"train.batch_size={BATCH}",
        "train.device=cpu",
        "eval.suite=mini",
        "eval.resamples=100",
        *_data(name, tmp_path),
    ]
    record = train(load(name, overrides).recipe, tmp_path / "run", say=lambda line: None, progress=False)
    assert [line["step"] for line in record.curve] == [1, 2]
    assert [c["task"] for c in record.comparison] == ["mini-sts", "mini-retrieval", "average"]
    assert record.scores_before is not None
    assert record.scores_after is not None
    assert record.scores_before["fingerprint"] != record.scores_after["fingerprint"]
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu").encode(["a text"]).shape == (1, 32)


def _data(name: str, folder: Path) -> list[str]:
    """Overrides that put made-up sentences in the place of the recipe's files, under the columns it asks for."""
    overrides = []
    for i, source in enumerate(load(name).recipe.data.sources):
        if source.pydocs is not None:
            overrides.append(f"data.sources.{i}.pydocs.packages={PACKAGES}")
            continue
        file = folder / f"source{i}.jsonl"
        file.write_text("\n".join(map(json.dumps, _rows(source))), encoding="utf-8")
        overrides += [f"data.sources.{i}.path={file}", f"data.sources.{i}.format=jsonl"]
    return overrides


def _rows(source: Source) -> list[dict[str, Any]]:
    columns = source.roles or {"query": "query", "positive": "positive"}
    rows: list[dict[str, Any]] = [{} for _ in range(3 * BATCH)]
    for seed, (role, names) in enumerate(columns.items()):
        for column in (names,) if isinstance(names, str) else names:
            for i, text in enumerate(sentences(len(rows), seed=seed)):
                rows[i][column] = i % 6 if role == "score" else i % 3 if role == "label" else text
    return rows
