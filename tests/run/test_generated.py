"""Generated duplicates and the views' strength in a whole run: what the log and the record say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedkit.recipe.schema import Recipe
from tests.run.runs import go, material, recipe, record


@pytest.mark.slow
def test_the_log_and_the_record_count_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(material(tmp_path))
    real = Path("a.txt").read_text().splitlines()
    Path("b.txt").write_text("\n".join([*Path("b.txt").read_text().splitlines(), "one more", "one more", *real[:3]]))
    plain = recipe(steps=3).model_dump(exclude_unset=True)
    made = Recipe.model_validate(
        {
            **plain,
            "data": {"sources": [{"path": "a.txt"}, {"path": "b.txt", "generated": True}]},
            "views": {"transforms": [[{"name": "dropout", "rate": 0.2}]], "strength": {}},
        }
    )
    lines: list[str] = []
    go(tmp_path, made, said=lines)
    left_out = ["b.txt: 3 generated rows left out: equal to a real row"]
    left_out.append("b.txt: 1 generated row left out: equal to another generated row")
    found = record(tmp_path)
    assert [w for w in found["warnings"] if "left out" in w] == left_out
    assert [line for line in lines if "left out" in line] == [f"warning      {line}" for line in left_out]
    assert found["data"][1]["rows"] == 17
    assert found["data"][1]["generated"] == {"rows": 17, "equal_to_real": 3, "equal_to_generated": 1}
    assert "generated" not in found["data"][0]
    assert found["plan"]["strength"] == "all rates x 0.75: 33% of the batches are of generated rows"
    assert found["plan"]["views"][0] == "dropout 0.15" and any("all rates x 0.75" in line for line in lines)
