"""``embedkit check``: the plan, the sample, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import RECIPE, Done

Run = Callable[..., Done]


def test_the_plan_of_a_local_recipe(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "train.batch_size=16", "--nproc", "2")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^recipe +r.yaml, hash [0-9a-f]{16}$", done.out, re.M)
    assert "text.txt: 64 rows; roles text; infonce" in done.out
    assert "16 examples x 2 texts = 32 texts per batch, 8 on each of 2 processes" in done.out
    assert "a query sees 15 negatives: 15 in-batch" in done.out
    assert "at most 64 tokens per text" in done.out, "the size of the local model was not read"
    assert "mine before and after training" in done.out
    assert "A: 40 texts, about" in done.out
    assert done.out.endswith("nothing speaks against it\n")


def test_a_refusal_exits_2_after_the_plan(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "train.batch_size=1")
    assert done.code == 2
    assert "1 examples x 2 texts" in done.out
    assert "nothing speaks against it" not in done.out
    assert "sees no negatives" in done.err


def test_nothing_of_the_model_is_needed(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "model.base=nobody/has-this-model")
    assert done.code == 0
    assert "unknown until the model is loaded" in done.out


def test_sizes_are_read_from_the_cache_without_asking_the_hub(
    embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = work / "cache" / "models--nobody--small"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots" / "abc").mkdir(parents=True)
    (model / "snapshots" / "abc" / "config.json").write_bytes(Path("tiny/config.json").read_bytes())
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(work / "cache"))
    done = embedkit("check", "r.yaml", "model.base=nobody/small")
    assert "at most 64 tokens per text" in done.out
    assert (
        "matryoshka dim 64 is larger than the model's 32"
        in embedkit(
            "check", "r.yaml", "model.base=nobody/small", "objective={name: matryoshka, dims: [64], objective: infonce}"
        ).err
    )


def test_missing_suite_files_are_a_warning(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "eval.suite.tasks.0.files=[none.tsv]")
    assert done.code == 0
    assert "none.tsv" in done.out.split("warning")[1]


def test_the_selecting_metric_of_a_suite_file_is_checked(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "eval.suite=suite.yaml", "eval.every=2", "eval.select=B/spearman")
    assert done.code == 2
    assert "does not measure 'B/spearman'" in done.err
    assert "did you mean 'A/spearman'?" in done.err


class TestSample:
    @pytest.fixture(autouse=True)
    def _data(self, work: Path) -> None:
        rows = [
            {"query": "bade fiba", "positive": " ".join(["bade"] * 100), "score": 0.25},
            {"query": "bade  fiba", "positive": "lago", "score": 1.0},
            {"query": "fiba", "positive": "fiba", "score": 0.5},
            {"query": "", "positive": "x", "score": 0},
        ]
        Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\nbroken\n")
        Path("p.yaml").write_text(RECIPE.replace("text.txt", "pairs.jsonl, on_bad_row: skip").replace("8,", "2,"))

    def test_lengths_truncation_duplicates_and_bad_rows(self, embedkit: Run) -> None:
        done = embedkit("check", "p.yaml", "--sample", "50")
        assert done.code == 0, done.err
        query, positive = (
            re.split(r" {2,}", line.strip())
            for line in done.out.splitlines()
            if line.startswith((" query ", " positive "))
        )
        # [CLS] two words [SEP]; quantiles of 4, 4, 3 and of 102, 3, 3
        assert query == ["query", "3", "4", "4", "4", "4", "0.0%", "33.3%"]
        assert positive == ["positive", "3", "3", "102", "102", "102", "33.3%", "0.0%"]
        assert "max_length 64 tokens" in done.out
        assert "1 bad row left out: malformed JSON" in done.out
        assert "1 rows whose positive is the query itself" in done.out
        assert "2 rows whose query has several positives" in done.out
        assert "scores from 0.25 to 1" in done.out
        # the plan counts with the lengths that were measured: (4 + 4 + 3 + 64 + 3 + 3) / 6
        assert "(14 tokens per text on average)" in done.out

    def test_bad_rows_that_stop_the_run_are_not_called_left_out(self, embedkit: Run) -> None:
        done = embedkit("check", "p.yaml", "--sample", "50", "data.sources.0.on_bad_row=error")
        assert done.code == 3
        assert "1 bad row, at which the run would stop: malformed JSON" in done.out and "left out:" not in done.out
        assert "pairs.jsonl:5: malformed JSON" in done.err
        assert "set `on_bad_row: skip` in this source (data.sources.0.on_bad_row=skip)" in done.err

    def test_a_file_in_another_encoding_is_refused_alike_with_and_without_sample(self, embedkit: Run) -> None:
        Path("wide.txt").write_bytes("a b\nc d\n".encode("utf-16"))
        for options in ([], ["--sample", "5"]):
            done = embedkit("check", "p.yaml", *options, "data.sources.0.path=wide.txt")
            assert done.code == 3
            assert "data.sources.0.encoding=utf-16" in done.err

    def test_prompts_and_max_length_of_the_recipe_count(self, embedkit: Run) -> None:
        done = embedkit("check", "p.yaml", "--sample", "50", "model.max_length=5", "model.prompts.query=bade bade ")
        query = next(line for line in done.out.splitlines() if line.startswith(" query "))
        assert re.findall(r"\d+(?:\.\d)?%?", query) == ["3", "6", "6", "6", "6", "66.7%", "33.3%"]

    def test_only_the_first_rows_are_read(self, embedkit: Run) -> None:
        done = embedkit("check", "p.yaml", "--sample", "2")
        assert "first 2 rows" in done.out

    def test_bad_rows_exit_3_where_they_are_errors(self, embedkit: Run) -> None:
        done = embedkit("check", "p.yaml", "--sample", "50", "data.sources.0.on_bad_row=error")
        assert done.code == 3
        assert "pairs.jsonl:4: " in done.err
        assert "pairs.jsonl:5: malformed JSON" in done.err

    def test_a_missing_file_exits_3(self, embedkit: Run) -> None:
        done = embedkit("check", "p.yaml", "--sample", "50", "data.sources.0.path=none.jsonl")
        assert done.code == 3
        assert "no such file" in done.err


def test_a_sample_warns_of_what_the_rows_hold(embedkit: Run, work: Path) -> None:
    rows = [json.dumps({"query": f"q {i}", "positive": "one answer", "score": i % 6}) for i in range(64)]
    Path("same.jsonl").write_text("\n".join(rows))
    sources = "data.sources=[{path: same.jsonl}]"
    assert "all in-batch negatives are masked" in embedkit("check", "r.yaml", sources, "--sample", "64").out
    done = embedkit("check", "r.yaml", sources, "objective=cosine_mse", "--sample", "64")
    assert "those of same.jsonl go from 0 to 5" in done.out


def test_the_plan_as_json(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "--json")
    found = json.loads(done.out)
    assert done.code == 0 and found["good"] and found["refusals"] == []
    assert found["plan"]["updates"] == 4 and found["plan"]["sources"][0]["rows_per_step"] == 16
    assert len(found["hash"]) == 16 and "nothing speaks" not in done.out


def test_what_speaks_against_it_is_in_the_json_too(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "objective=cosent", "--json")
    found = json.loads(done.out)
    assert done.code == 2 and not found["good"] and "cosent" in found["refusals"][0]["what"]
    assert found["refusals"][0]["cure"] and found["refusals"][0]["what"] in done.err


def test_where_a_recipe_publishes_is_in_the_plan(embedkit: Run, work: Path) -> None:
    done = embedkit("check", "r.yaml", "publish={to: me/model, private: false, revision: v2}")
    assert done.code == 0 and "publish      to me/model, public, branch v2, when it is trained" in done.out
    assert "publish" not in embedkit("check", "r.yaml").out
