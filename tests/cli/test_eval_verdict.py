"""``eval --compare``: a verdict that a script reads, an exit code, and JSON alone on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Done
from tests.tiny import tiny_bert

Run = Callable[..., Done]
EVAL = ("--suite", "suite.yaml", "--resamples", "100")


def test_the_last_line_and_the_exit_code(embedkit: Run, work: Path) -> None:
    tiny_bert("other", seed=5)
    gold = json.loads(embedkit("eval", "tiny", *EVAL, "--compare", "other", "--json").out)
    assert gold["verdict"] in ("BETTER", "WORSE", "UNCLEAR")
    (row,) = gold["comparison"]
    assert row["after"] == gold["scores"]["tasks"][0]["metrics"]["spearman"] and 0 < row["permutation"] <= 1
    done = embedkit("eval", "tiny", *EVAL, "--compare", "other")
    last = done.out.rstrip("\n").splitlines()[-1]
    assert done.code == 0 and last.startswith(f"VERDICT: {gold['verdict']} | A/spearman | {row['before']:.4f} | ")
    same = embedkit("eval", "tiny", *EVAL, "--compare", "tiny", "--fail-if-worse")
    assert same.code == 0 and same.out.rstrip().endswith("| +0.0000 [+0.0000, +0.0000]")
    assert "VERDICT: UNCLEAR" in same.out


def test_worse_fails_only_when_asked(embedkit: Run, work: Path) -> None:
    """Gold scores that are the first model's own order: any other model is worse."""
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model
    from tests.tiny import sentences

    tiny_bert("other", seed=5)
    texts = sentences(200, seed=3)
    vectors = Encoder.load(Model(base="tiny")).encode(texts, normalize=True)
    rows = [f"{texts[i]}\t{texts[i + 1]}\t{vectors[i] @ vectors[i + 1]:.6f}" for i in range(0, 200, 2)]
    Path("sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    done = embedkit("eval", "other", *EVAL, "--compare", "tiny")
    assert done.code == 0 and "VERDICT: WORSE | A/spearman | 100.0000 |" in done.out
    assert embedkit("eval", "other", *EVAL, "--compare", "tiny", "--fail-if-worse").code == 1
    assert embedkit("eval", "other", *EVAL, "--compare", "tiny", "--fail-if-worse", "--json").code == 1
    better = embedkit("eval", "tiny", *EVAL, "--compare", "other", "--fail-if-worse")
    assert better.code == 0 and "tiny is better than other" in better.out


def test_what_cannot_be_judged_is_refused_first(embedkit: Run, work: Path) -> None:
    alone = embedkit("eval", "tiny", *EVAL, "--fail-if-worse")
    assert alone.code == 2 and "add --compare" in alone.err
    none = embedkit("eval", "tiny", "--suite", "suite.yaml", "--resamples", "0", "--compare", "tiny")
    assert none.code == 2 and "needs resamples" in none.err


def test_json_is_all_of_stdout(embedkit: Run, work: Path) -> None:
    done = embedkit("eval", "tiny", *EVAL, "--json", "--out", "scores")
    found = json.loads(done.out)
    assert list(found) == ["scores"] and done.code == 0
    kept = json.loads(Path("scores/scores.json").read_text())
    assert found["scores"] == {k: v for k, v in kept.items() if k != "samples"}
    assert "STS" in done.err, "the table is for people, on stderr"
