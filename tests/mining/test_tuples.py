"""Tuples of one width: what is in them, and that sentence-transformers trains on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from embedkit.errors import DataError, RecipeError
from embedkit.mining import tuples
from tests.mining.test_mined_file import PROBLEM, TABLE
from tests.tiny import sentences, tiny_bert


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
@pytest.mark.parametrize("texts", [1, 16_384])
def test_pairs_whose_query_has_fewer_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, texts: int
) -> None:
    monkeypatch.setattr(tuples, "TEXTS", texts)
    file = tmp_path / name

    def read() -> list[dict[str, str]]:
        if file.suffix == ".parquet":
            found: list[dict[str, str]] = parquet.read_table(file).to_pylist()
            return found
        return [json.loads(line) for line in file.read_text().splitlines()]

    assert tuples.write(file, PROBLEM, TABLE, 1) == (3, 0)
    assert read() == [
        {"anchor": "q0", "positive": "text 0", "negative_1": "text 3"},
        {"anchor": "q0", "positive": "text 1", "negative_1": "text 3"},
        {"anchor": "q1", "positive": "text 2", "negative_1": "text 0"},
    ]
    assert tuples.write(file, PROBLEM, TABLE, 2) == (2, 1)
    assert read()[1] == {"anchor": "q0", "positive": "text 1", "negative_1": "text 3", "negative_2": "text 4"}
    before = file.read_bytes()
    with pytest.raises(DataError, match="no query with a positive has 3 negatives"):
        tuples.write(file, PROBLEM, TABLE, 3)
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [name]


def test_another_ending_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"must end with \.parquet or \.jsonl"):
        tuples.check_name(Path("t.csv"))


def test_sentence_transformers_trains_on_them(tmp_path: Path) -> None:
    import datasets
    import torch
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import SentenceTransformerTrainingArguments

    from embedkit.mining.assembly import Assembly
    from embedkit.mining.table import MinedTable

    texts = sentences(12)
    gathered = Assembly()
    for i in range(4):
        gathered.query(texts[i], [texts[4 + i]])
    for text in texts[4:]:
        gathered.document(text)
    problem = gathered.finish()
    rows = torch.tensor([[4, 5], [5, 6], [6, 7], [7, 4]]).numpy()
    zero = rows * 0.0
    table = MinedTable(rows, zero, rows, zero[:, 0])
    assert tuples.write(tmp_path / "t.parquet", problem, table, 2) == (4, 0)
    data = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "t.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    model = SentenceTransformer(str(tiny_bert(tmp_path / "tiny")), device="cpu")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    options = {"per_device_train_batch_size": 4, "max_steps": 1, "report_to": "none", "use_cpu": True}
    arguments = SentenceTransformerTrainingArguments(str(tmp_path / "run"), save_strategy="no", **options)
    SentenceTransformerTrainer(model, arguments, data, loss=MultipleNegativesRankingLoss(model)).train()
    assert any(not torch.equal(before[name], weight) for name, weight in model.state_dict().items())
