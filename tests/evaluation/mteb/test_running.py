"""Through mteb itself: identity, the cache, the same figures as the fast path, every kind, failures, submissions."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import DataError, EmbedkitError, RecipeError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.forecast import forecast
from embedkit.recipe import mteb as blocks
from embedkit.recipe.mteb import MtebTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import Scores
from tests.evaluation.hashing import HashingEncoder

pytest.importorskip("mteb", reason="needs the extra mteb")
PACKS = suites.shipped_suites().parent / "packs"
STS = str(PACKS / "mini-sts.tsv")
FAST_STS = StsTask(name="fast-sts", files=(STS,))
FAST_RETRIEVAL = RetrievalTask(name="fast-retrieval", folder=str(PACKS / "mini-retrieval"))
OWN_STS = MtebTask(name="OwnSts", data=blocks.StsFiles(files=(STS,)))
OFFICIAL = MtebTask(task="STSBenchmark", name="STSBenchmark", data=blocks.StsFiles(files=(STS,)))
OWN_RETRIEVAL = MtebTask(name="OwnRetrieval", data=blocks.RetrievalFolder(folder=str(PACKS / "mini-retrieval")))


class Prompted(HashingEncoder):
    """Has prompts as an `Encoder` has."""

    def prompt(self, role: str) -> str:
        return {"query": "query: ", "document": ""}[role]


def evaluate(encoder: Any, *tasks: Any, results: suites.Results | None = None) -> Scores:
    return suites.evaluate_suite(encoder, Suite(tasks=tasks), resamples=0, results=results)


def kept(folder: Path, name: str = "runs/a/model") -> suites.Results:
    return suites.Results(name, folder=folder)


# Figures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both() -> Scores:
    return evaluate(Prompted(), FAST_STS, FAST_RETRIEVAL, OWN_STS, OFFICIAL, OWN_RETRIEVAL)


def test_the_same_files_give_the_same_figures(both: Scores) -> None:
    sts, retrieval, own, official, ranked = both.tasks
    assert own.details["metric"] == "spearman" and official.details["metric"] == "cosine_spearman"
    for found in (own.metrics["main_score"], own.metrics["spearman"], official.metrics["main_score"]):
        assert found == pytest.approx(sts.metrics["spearman"], abs=1e-4)  # points: 1e-6
    assert own.metrics["pearson"] == pytest.approx(sts.metrics["pearson"], abs=1e-4)
    assert ranked.metrics["mrr_at_10"] == pytest.approx(retrieval.metrics["mrr@10"], abs=1e-4)
    for theirs, ours in (("ndcg_at_10", "ndcg@10"), ("recall_at_5", "recall@5"), ("map_at_100", "map@100")):
        # mteb rounds these to five digits of a fraction
        assert ranked.metrics[theirs] == pytest.approx(round(retrieval.metrics[ours], 3), abs=1e-9), ours
    assert ranked.metrics["main_score"] == ranked.metrics["ndcg_at_10"]


def test_what_was_sent_is_told_once_per_task(both: Scores) -> None:
    from rich.console import Console

    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(suites.table(both))
    text = captured.get()
    assert text.count("OwnSts: query prompt 'query: '") == 1
    assert text.count("OwnRetrieval: query prompt 'query: ', no document prompt") == 1
    assert "cosine_spearman" in text and f"{both.tasks[3].metrics['main_score']:.2f}" in text


def test_documents_and_queries_have_their_roles() -> None:
    encoder = HashingEncoder()
    evaluate(encoder, OWN_RETRIEVAL)
    assert {role: sum(len(t) for r, _, t in encoder.calls if r == role) for role in ("query", "document")} == {
        "query": 40,
        "document": 60,
    }


@pytest.fixture
def files(tmp_path: Path) -> Path:
    colours = {"red": ["red apple", "red brick", "red rose"], "blue": ["blue sea", "blue sky", "blue whale"]}
    texts = [(text, label) for label, found in colours.items() for text in found]
    lines = "".join(f"{text}\t{label}\n" for text, label in texts)
    (tmp_path / "labels.tsv").write_text("text\tlabel\n" + lines)
    (tmp_path / "many.jsonl").write_text(
        "".join(json.dumps({"text": f"{text} {text}", "labels": [label]}) + "\n" for text, label in texts)
    )
    (tmp_path / "pairs.tsv").write_text(
        "sentence1\tsentence2\tlabel\nred apple\tred apples\t1\nblue sea\tblue seas\t1\nred rose\ttall tree\t0\n"
    )
    (tmp_path / "bitext.tsv").write_text("sentence1\tsentence2\nred apple\tred apfel\nblue sea\tblue see\n")
    rows = [
        {"query": "red apple", "positive": ["old stone"], "negative": ["red apples", "tall tree"]},
        {"query": "blue sea", "positive": ["blue seas"], "negative": ["tall tree"]},
    ]
    (tmp_path / "rerank.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_every_kind_is_measured_on_local_files(files: Path) -> None:
    def place(name: str) -> tuple[str, ...]:
        return (str(files / name),)

    few = {"samples_per_label": 2, "experiments": 3}
    kinds = {
        "classification": blocks.ClassificationFiles(files=place("labels.tsv"), train=place("labels.tsv"), **few),
        "multilabel": blocks.MultilabelFiles(
            files=place("many.jsonl"), train=place("many.jsonl"), samples_per_label=3, experiments=2
        ),
        "clustering": blocks.ClusteringFiles(files=place("labels.tsv")),
        "pair_classification": blocks.PairFiles(files=place("pairs.tsv")),
        "bitext": blocks.BitextFiles(files=place("bitext.tsv")),
        "reranking": blocks.RerankingFiles(files=place("rerank.jsonl")),
    }
    tasks = [MtebTask(name=f"Own-{kind}", data=data) for kind, data in kinds.items()]
    found = {score.task.removeprefix("Own-"): score for score in evaluate(HashingEncoder(triples=1.0), *tasks).tasks}
    assert list(found) == list(kinds)
    main = {kind: score.metrics["main_score"] for kind, score in found.items()}
    assert main["classification"] == 100 and main["pair_classification"] == 100 and main["bitext"] == 100
    assert 0 <= main["multilabel"] <= 100 and 0 < main["clustering"] <= 100
    assert main["reranking"] == pytest.approx(100 * (1 / 3 + 1) / 2, abs=1e-3)  # last of three, first of two
    assert found["classification"].details["kind"] == "Classification"
    assert not evaluate(HashingEncoder(), *tasks).failed


# Identity -----------------------------------------------------------------------------------------------------


def test_a_model_that_trained_on_gets_new_numbers_and_the_same_one_none(tmp_path: Path) -> None:
    import torch

    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model
    from tests.tiny import tiny_bert

    encoder = Encoder.load(Model(base=str(tiny_bert(tmp_path / "tiny"))))
    encoded: list[int] = []
    real = Encoder.encode

    def counted(self: Encoder, texts: Any, **options: Any) -> np.ndarray:
        encoded.append(len(texts))
        return real(self, texts, **options)

    optimizer = torch.optim.SGD(encoder.st.parameters(), lr=0.02)

    def train() -> None:
        """Pull two texts together, as any training changes the weights."""
        features = encoder.st.preprocess(["bade fi", "sate lo"])
        with torch.enable_grad():
            rows = encoder.st(features)["sentence_embedding"]
            (rows[0] - rows[1]).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "encode", counted)
        for _ in range(2):
            train()
            for _ in range(2):
                encoded.clear()
                scores = evaluate(encoder, OWN_STS, results=kept(tmp_path / "kept"))
                found.append((scores.tasks[0], sum(encoded)))
    first, again, second, last = found
    assert first[1] > 0 and second[1] > 0
    assert again[1] == last[1] == 0, "the same content is answered from the cache"
    assert again[0].metrics["main_score"] == pytest.approx(first[0].metrics["main_score"], abs=1e-4)
    assert second[0].metrics["main_score"] != pytest.approx(first[0].metrics["main_score"], abs=1e-3)
    assert last[0].metrics["main_score"] == pytest.approx(second[0].metrics["main_score"], abs=1e-4)
    assert first[0].details["revision"] != second[0].details["revision"]
    assert {one.details["model"] for one, _ in found} == {"local/a"}
    assert again[0].details["kept"] is True and "kept" not in first[0].details


def test_other_data_lengths_and_prompts_are_measured_anew(tmp_path: Path) -> None:
    results = kept(tmp_path / "kept")
    path = tmp_path / "own.tsv"
    path.write_text(Path(STS).read_text())
    task = MtebTask(name="OwnSts", data=blocks.StsFiles(files=(str(path),)))
    encoder = HashingEncoder()
    whole = evaluate(encoder, task, results=results).tasks[0].metrics["main_score"]
    path.write_text("\n".join(path.read_text().splitlines()[:60]) + "\n")
    part = evaluate(encoder, task, results=results).tasks[0]
    assert "kept" not in part.details and part.metrics["main_score"] != pytest.approx(whole, abs=1e-3)
    assert "kept" in evaluate(encoder, task, results=results).tasks[0].details
    short = evaluate(encoder, task.model_copy(update={"max_length": 3}), results=results).tasks[0]
    assert "kept" not in short.details and short.details["max_length"] == 3
    assert short.metrics["main_score"] != pytest.approx(part.metrics["main_score"], abs=1e-3)


def test_a_damaged_result_is_measured_anew(tmp_path: Path) -> None:
    results, encoder = kept(tmp_path), HashingEncoder()
    first = evaluate(encoder, OWN_STS, results=results).tasks[0]
    (path,) = tmp_path.glob("results/*/*/OwnSts.json")
    path.write_text(path.read_text()[:100])
    again = evaluate(encoder, OWN_STS, results=results).tasks[0]
    assert "kept" not in again.details and again.metrics == first.metrics


def test_the_random_state_of_the_process_is_left_alone(tmp_path: Path) -> None:
    import torch

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    evaluate(HashingEncoder(), OWN_STS)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected


def test_the_second_evaluation_draws_what_the_first_drew(files: Path) -> None:
    """mteb's own task objects go on drawing: other training texts for the second model, other figures."""
    place = (str(files / "labels.tsv"),)
    data = blocks.ClassificationFiles(files=place, train=place, samples_per_label=1, experiments=4)
    task = MtebTask(name="Colours", data=data)
    first, second = (evaluate(HashingEncoder(dim=8), task).tasks[0].metrics for _ in range(2))
    assert first == second


# What goes wrong ----------------------------------------------------------------------------------------------


def test_a_task_that_fails_is_told_and_the_others_go_on(files: Path) -> None:
    place = (str(files / "labels.tsv"),)
    bad = MtebTask(name="Colours", data=blocks.ClusteringFiles(files=place))
    scores = evaluate(HashingEncoder(spoil="blue whale"), OWN_STS, bad, OWN_RETRIEVAL)
    assert [task.task for task in scores.tasks] == ["OwnSts", "OwnRetrieval"]
    assert list(scores.failed) == ["Colours"] and "not finite" in scores.failed["Colours"]
    assert scores.average == pytest.approx(np.mean([task.metrics["main_score"] for task in scores.tasks]))
    whole = evaluate(HashingEncoder(), OWN_STS, bad, OWN_RETRIEVAL)
    assert [c.task for c in suites.compare(scores, whole, 100)] == ["OwnSts", "OwnRetrieval", "average"]
    with pytest.raises(EmbedkitError, match="not finite"):
        evaluate(HashingEncoder(spoil="blue whale"), bad)


def test_names_that_mteb_has_not(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'SciFact'"):
        suites.load_suite("mteb:SciFakt")
    with pytest.raises(RecipeError, match="did you mean 'NanoBEIR'"):
        suites.load_suite("mteb:NanoBEIRR")
    with pytest.raises(RecipeError, match="names no task"):
        suites.load_suite("mteb:")
    for task, what in (
        (MtebTask(task="STS12", name="a", benchmark="NanoBEIRR"), "did you mean 'NanoBEIR'"),
        (MtebTask(task="STS12", name="a", benchmark="NanoBEIR"), "NanoBEIR has no task 'STS12'"),
        (MtebTask(task="STSS12", name="a"), "did you mean 'STS12'"),
        (OWN_STS.model_copy(update={"name": "STS12"}), "is a task of mteb"),
        (OFFICIAL.model_copy(update={"task": "SciFact"}), "of type Retrieval, not of kind sts"),
        (OFFICIAL.model_copy(update={"task": "STS17"}), "parts"),
        (OWN_STS.model_copy(update={"language": "english"}), "does not take this task"),
    ):
        with pytest.raises(RecipeError) as caught:
            suites.load_data(Suite(tasks=(task,)))
        assert what in str(caught.value)


def test_benchmarks_are_taken_apart_and_counted() -> None:
    suite = suites.load_suite("mteb:NanoBEIR,MTEB(eng, v2),NanoSciFactRetrieval")
    names = [task.name for task in suite.tasks]
    assert len(names) == len(set(names)) == 13 + 41
    assert {task.benchmark for task in suite.tasks if isinstance(task, MtebTask)} == {"NanoBEIR", "MTEB(eng, v2)"}
    chosen = Suite(tasks=tuple(task for task in suite.tasks if task.name in ("SciFact", "STS12", "STS17", "ArguAna")))
    data = suites.load_data(chosen)
    counts = {task.name: getattr(own, "size", None) for task, own in zip(chosen.tasks, data, strict=True)}
    assert counts["STS12"] == 2 * 3108 and counts["ArguAna"] == 10_080
    assert counts["STS17"] == 2 * 250, "English alone, as the benchmark has it"
    ahead = forecast(HashingEncoder(), chosen, data)
    assert ahead.texts == sum(n for n in counts.values() if n)
    assert ahead.measured < 200


def test_offline_lists_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = HashingEncoder()
    tasks = (OWN_STS, MtebTask(task="STS12", name="STS12"), MtebTask(task="SciFact", name="SciFact"))
    with pytest.raises(DataError, match="2 of 3 tasks need data") as caught:
        evaluate(encoder, *tasks, results=kept(tmp_path))
    assert not encoder.calls, "said before anything is encoded"
    text = str(caught.value)
    assert "datasets--mteb--sts12-sts/snapshots/" in text and "SciFact: mteb/scifact at" in text
    assert "data: {...}" in caught.value.cure


# For a submission ---------------------------------------------------------------------------------------------


def test_results_are_in_the_layout_of_mteb_and_checked_by_its_reader(tmp_path: Path) -> None:
    import mteb

    from embedkit.evaluation.mteb import submission

    results = replace(kept(tmp_path / "kept", "user/model"), copy=tmp_path / "out" / "mteb")
    scores = evaluate(HashingEncoder(), OFFICIAL, OWN_STS, results=results)
    (folder,) = (tmp_path / "out/mteb/results").glob("*/*")
    assert folder.parent.name == "user__model" and folder.name == scores.tasks[0].details["revision"]
    assert {path.name for path in folder.iterdir()} == {
        "STSBenchmark.json",
        "OwnSts.json",
        "model_meta.json",
        "run_settings.jsonl",
    }
    read = mteb.ResultCache(tmp_path / "out/mteb").load_results(include_remote=False)
    (model,) = read.model_results
    assert model.model_name == "user/model"
    assert {r.task_name: round(100 * r.get_score(), 3) for r in model.task_results} == {
        score.task: round(score.metrics["main_score"], 3) for score in scores.tasks
    }
    (found,) = submission.check(tmp_path / "out")
    assert found.tasks == ()
    assert any("OwnSts: no task of mteb's" in problem for problem in found.problems)
    assert any("STSBenchmark: measured on the data local-" in problem for problem in found.problems)
    with pytest.raises(EmbedkitError, match="cannot be submitted"):
        submission.refuse([found])
    _as_official(folder)
    (found,) = submission.check(tmp_path / "out")
    assert (found.model, found.tasks, found.problems) == ("user/model", ("STSBenchmark",), ())
    submission.refuse([found])
    (folder / "run_settings.jsonl").unlink()
    assert "run_settings.jsonl has no line" in submission.check(tmp_path / "out")[0].problems[0]
    (folder / "STSBenchmark.json").write_text("{}")
    assert "mteb cannot read it" in submission.check(tmp_path / "out")[0].problems[0]
    with pytest.raises(DataError, match="no results"):
        submission.check(tmp_path / "out" / "mteb" / "results" / "user__model")


def _as_official(folder: Path) -> None:
    """What the same evaluation leaves when its data is the Hub's."""
    import mteb

    (folder / "OwnSts.json").unlink()
    path = folder / "STSBenchmark.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "dataset_revision": mteb.get_task("STSBenchmark").metadata.revision}))
