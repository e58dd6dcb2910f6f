"""Paraphrases of labelled texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedkit.data.sources import load_source
from embedkit.errors import DataError
from embedkit.recipe.load import load_recipe
from embedkit.synthesis import produce
from embedkit.synthesis.endpoint import Endpoint
from embedkit.synthesis.paraphrases import Paraphrases
from embedkit.synthesis.prompts import Prompter
from embedkit.types import Example
from tests.synthesis.server import Server
from tests.synthesis.test_claif import Model

TEXTS = [Example(f"Sentence {i} is here.", label=i % 2) for i in range(30)]


def task(prompter: Prompter) -> Paraphrases:
    made = Paraphrases(prompter)
    made.classes = {0: "lost card", 1: "refund"}
    return made


def test_a_paraphrase_keeps_the_label(prompter: Prompter) -> None:
    made, model = task(prompter), Model()
    rows = list(made.rows(TEXTS, model))
    assert [call.kind for call in model.asked] == ["paraphrase"] * 30
    (planned,) = made.plan(TEXTS)
    assert (planned.count, planned.first) == (30, model.asked[0])
    assert 15 <= len(rows) == 30 - sum(made.dropped.values())
    for row in rows:
        assert row["label"] == ("refund" if int(row["text"].split()[1]) % 2 else "lost card")
        assert row["paraphrase"] != row["text"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("sentence 0  is HERE.", "paraphrase that repeats its text"),
        ("Here.", "paraphrase of another length"),
        ("Here, " * 12 + "it is.", "paraphrase of another length"),
    ],
)
def test_what_is_no_paraphrase_is_dropped_and_too_much_of_it_refused(
    prompter: Prompter, said: str, reason: str
) -> None:
    made = task(prompter)
    with pytest.raises(DataError, match=f"1 of 1 texts have no usable paraphrase: 1 {reason}"):
        list(made.rows(TEXTS[:1], Model(paraphrase=said)))


def test_the_recipe_reads_what_is_written(server: Server, tmp_path: Path) -> None:
    few, out = tmp_path / "few.tsv", tmp_path / "paraphrased.jsonl"
    few.write_text("text\tlabel\n" + "".join(f"{e.query}\tclass {e.label}\n" for e in TEXTS), encoding="utf-8")
    settings = produce.Settings("paraphrases", out, few)
    record = produce.synthesize(settings, lambda: Endpoint(server.url, "lm"))
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert record["rows"] == len(written) and {row["label"] for row in written} == {"class 0", "class 1"}
    recipe = load_recipe("fewshot/paraphrase", [f"data.sources.0.path={out}"])
    loaded = load_source(recipe.data.sources[0])
    assert loaded.roles == {"query", "positive", "label"} and loaded.rows == len(written)
    assert loaded.get([0])[0].positives == (written[0]["paraphrase"],)
