"""The cookbook runs: files, commands and Python of every page, in their order, on small data and with tiny models."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Done, embedkit  # noqa: F401
from tests.mining.filters.test_cross_encoder import reranker
from tests.run.test_served import Server as ServedModel
from tests.synthesis.conftest import server  # noqa: F401
from tests.synthesis.server import Server
from tests.test_docs import ROOT
from tests.tiny import sentences, tiny_bert

Run = Callable[..., Done]
BOOK = ROOT / "docs" / "cookbook"
PAGES = sorted(path.stem for path in BOOK.glob("*.md") if path.stem != "README")
MODELS = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "intfloat/multilingual-e5-small",
    "google-bert/bert-base-multilingual-cased",
)
"""What pages call by name; the tiny one stands for them."""
TEACHER = "cross-encoder/ms-marco-MiniLM-L6-v2"
SMALL = ("train.steps=2", "train.batch_size=8", "train.device=cpu", "eval.resamples=100")
SHIPPED = ("model.base=tiny", "model.max_length=32")
TEXTS = sentences(80, shortest=4)


def test_every_page_is_in_the_index_and_is_run() -> None:
    index = (BOOK / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(([\w-]+)\.md\)", index) and set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == set(PAGES)
    here = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in PAGES if f'run_page("{name}"' not in here] == []


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pairs, documents and a tiny model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_bert("tiny")
    pairs = list(zip(TEXTS[::2], TEXTS[1::2], strict=True))
    lines("pairs.jsonl", ({"query": q, "positive": p} for q, p in pairs))
    lines("corpus.jsonl", ({"_id": f"d{i}", "title": q, "text": p} for i, (q, p) in enumerate(pairs)))
    return tmp_path


def lines(name: str, rows: Iterator[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def columns(name: str, first: str, second: str, texts: list[str]) -> None:
    rows = [f"{a}\t{b}" for a, b in zip(texts[::2], texts[1::2], strict=True)]
    Path(name).write_text("\n".join([f"{first}\t{second}", *rows]) + "\n", encoding="utf-8")


def run_page(name: str, embedkit: Run, replace: dict[str, str] | None = None) -> dict[str, Done]:  # noqa: F811
    """Do all that a page says. Returns what every command answered."""
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    for old, new in {**dict.fromkeys(MODELS, "tiny"), TEACHER: "teacher/reranker", **(replace or {})}.items():
        text = text.replace(old, new)
    answers: dict[str, Done] = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            file = re.match(r"# (\S+\.yaml)\n", block)
            assert file, f"{name}: a file without a name: {block}"
            Path(file[1]).write_text(block, encoding="utf-8")
        elif language == "python":
            exec(compile(block, f"{name}.md", "exec"), {})
        elif language == "bash":
            for line in block.splitlines():
                words = shlex.split(line)
                assert words[0] == "embedkit", line
                answers[line] = embedkit(*small(words[1:]))
        else:
            assert language == "text", f"{name}: {language} is not run"
    assert answers
    return answers


def small(words: list[str]) -> list[str]:
    """The command with few updates and resamples on the CPU."""
    if words[0] in ("check", "train"):
        own = () if words[1].endswith(".yaml") else SHIPPED
        return [*words, *own, *SMALL]
    if words[0] == "eval":
        return [*words, "--resamples", "100"]
    if words[0] == "start":
        return [*words, "--device", "cpu", "model.max_length=32", *SMALL]
    return [*words, "--device", "cpu"] if words[0] == "mine" else words


def all_good(answers: dict[str, Done]) -> None:
    for line, done in answers.items():
        assert done.code == 0, f"{line}\n{done.err}"


def compared(folder: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((Path(folder) / "comparison.json").read_text(encoding="utf-8"))
    return found


def verdicts(folder: str) -> list[str | None]:
    return [own["verdict"] for own in compared(folder)["comparisons"]]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_my_own_pairs(embedkit: Run, work: Path) -> None:  # noqa: F811
    columns("faq.tsv", "question", "answer", TEXTS)
    all_good(run_page("my-own-pairs", embedkit))
    asked = {json.loads(line)["text"] for line in Path("dev/queries.jsonl").read_text().splitlines()}
    trained = {json.loads(line)["query"] for line in Path("train.jsonl").read_text().splitlines()}
    assert len(asked) == 8 and len(trained) == 32 and not asked & trained
    assert len(Path("dev/corpus.jsonl").read_text().splitlines()) == 40
    assert all(verdicts("faq-or-mined"))


@pytest.mark.slow
def test_documents_without_pairs(embedkit: Run, work: Path, server: Server) -> None:  # noqa: F811
    all_good(run_page("documents-without-pairs", embedkit, {"http://localhost:8000/v1": server.url}))
    assert len(Path("queries.jsonl").read_text().splitlines()) > 30 and Path("audit/index.html").is_file()
    assert Path("tuned/run/report/index.html").is_file()
    assert all(verdicts("asked-or-titles")) and Path("runs/alone/model/modules.json").is_file()


@pytest.mark.slow
def test_generated_beside_real(embedkit: Run, work: Path, server: Server) -> None:  # noqa: F811
    Path("sentences.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    rows = [f"{a}\t{b}\t{i % 6}" for i, (a, b) in enumerate(zip(TEXTS[::2], TEXTS[1::2], strict=True))]
    Path("likeness.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n", encoding="utf-8")
    other = {"http://localhost:8000/v1": server.url, "google-bert/bert-base-uncased": "tiny"}
    answers = run_page("generated-beside-real", embedkit, other)
    all_good(answers)
    check = next(done.out for line, done in answers.items() if line.startswith("embedkit check"))
    text = (BOOK / "generated-beside-real.md").read_text(encoding="utf-8")
    shown = re.search(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert shown and shown[1] in check
    kept = json.loads(Path("runs/mixed/run.json").read_text())
    read = {source["name"]: source for source in kept["data"]}["generated.jsonl"]
    assert read["rows"] == read["generated"]["rows"] > 40
    plain = json.loads(Path("runs/strong/run.json").read_text())["plan"]
    assert plain["strength"] is None and plain["views"][0].startswith("20% of the words left out")


@pytest.mark.slow
def test_a_new_language(embedkit: Run, work: Path) -> None:  # noqa: F811
    columns("translations.tsv", "sentence1", "sentence2", TEXTS)
    columns("held-out.tsv", "sentence1", "sentence2", sentences(24, seed=3))
    Path("texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    Path("questions.jsonl").write_text(Path("pairs.jsonl").read_text())
    answers = run_page("a-new-language", embedkit)
    all_good(answers)
    check = next(done for line, done in answers.items() if line.startswith("embedkit check"))
    assert re.search(r"query.*tokens|tokens.*query", check.out, re.DOTALL)
    record = json.loads(Path("runs/language/run.json").read_text())
    assert record["scores_before"]["tasks"][0]["type"] == record["scores_after"]["tasks"][0]["type"] == "bitext"
    assert all(verdicts("one-or-two"))


@pytest.mark.slow
def test_distil_a_cross_encoder(embedkit: Run, work: Path) -> None:  # noqa: F811
    reranker(Path("teacher"))
    all_good(run_page("distil-a-cross-encoder", embedkit))
    record = json.loads(Path("runs/distilled/run.json").read_text())
    assert any("teacher_agreement" in key for line in record["curve"] for key in line)
    assert all(verdicts("labels-or-teacher"))


@pytest.mark.slow
def test_several_gpus(embedkit: Run, work: Path) -> None:  # noqa: F811
    all_good(run_page("several-gpus", embedkit, {"--nproc 4": "--nproc 2"}))
    found = compared("one-or-four")
    assert found["recipes"] == {} and found["same_data"] and all(verdicts("one-or-four"))


@pytest.mark.slow
def test_an_offline_cluster(embedkit: Run, work: Path) -> None:  # noqa: F811
    tiny_bert("models/e5-small-v2")
    answers = run_page("an-offline-cluster", embedkit)
    all_good(answers)
    trained = [line for line in answers if line.startswith("embedkit train")]
    assert len(trained) == 2 and trained[1] == f"{trained[0]} --resume"
    assert any("VERDICT: " in done.out for done in answers.values())


@pytest.mark.slow
def test_evaluate_a_served_model(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("FAQ_KEY", "not-a-secret")
    served = ServedModel(tiny_bert("runs/faq/model"))
    try:
        answers = run_page("evaluate-a-served-model", embedkit, {"http://localhost:8080/v1": served.url})
        all_good(answers)
        assert all("SAME" in done.out for done in answers.values())
        assert served.asked[-1]["model"] == "faq" and served.asked[-1]["key"] == "Bearer not-a-secret"
        served.before = lambda texts: [text[:5] for text in texts]
        wrong = run_page("evaluate-a-served-model", embedkit, {"http://localhost:8080/v1": served.url})
        assert all(done.code == 1 and "DIFFERENT" in done.out for done in wrong.values())
    finally:
        served.http.shutdown()
        served.http.server_close()


@pytest.mark.slow
def test_compare_two_models_honestly(embedkit: Run, work: Path) -> None:  # noqa: F811
    tiny_bert("runs/old/model")
    tiny_bert("runs/new/model", seed=1)
    rows = [f"{a}\t{b}\t{i % 6}" for i, (a, b) in enumerate(zip(TEXTS[::2], TEXTS[1::2], strict=True))]
    Path("likeness.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n", encoding="utf-8")
    Path("test/qrels").mkdir(parents=True)
    lines("test/corpus.jsonl", ({"_id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)))
    lines("test/queries.jsonl", ({"_id": f"q{i}", "text": f"{TEXTS[i]} bade"} for i in range(20)))
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(20))
    Path("test/qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    fewer = {"--seeds 3": "--seeds 1", **{f" runs/{name}/seed-{seed}": "" for name in "ab" for seed in (43, 44)}}
    answers = run_page("compare-two-models-honestly", embedkit, fewer)
    line, guard = (done.out.splitlines()[-1] for done in list(answers.values())[:2])
    number = r"[+-]?\d+\.\d{4}"
    form = rf"VERDICT: (BETTER|WORSE|UNCLEAR) \| average/main(?: \| {number}){{3}} \[{number}, {number}\]"
    assert re.fullmatch(form, line) and guard == line
    codes = [done.code for done in answers.values()]
    assert codes == [0, 1 if "WORSE" in line else 0, 0, 0, 0]
    found = compared("a-or-b")
    assert set(found["recipes"]) == {"objective.temperature"}  # type: ignore[call-overload]
    assert len(verdicts("a-or-b")) == 1 and all(verdicts("a-or-b"))


@pytest.mark.slow
def test_keep_the_rest(embedkit: Run, work: Path) -> None:  # noqa: F811
    rows = [f"{a}\t{b}\t{i % 6}" for i, (a, b) in enumerate(zip(TEXTS[::2], TEXTS[1::2], strict=True))]
    Path("likeness.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n", encoding="utf-8")
    Path("general.jsonl").write_text(Path("pairs.jsonl").read_text())
    Path("test/qrels").mkdir(parents=True)
    lines("test/corpus.jsonl", ({"_id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)))
    lines("test/queries.jsonl", ({"_id": f"q{i}", "text": f"{TEXTS[i]} bade"} for i in range(20)))
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(20))
    Path("test/qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    answers = run_page("keep-the-rest", embedkit)
    all_good(answers)
    assert sum("VERDICT: " in done.out for done in answers.values()) == 4
    curve = json.loads(Path("runs/prograd/run.json").read_text())["curve"]
    assert any("prograd_projected" in key for line in curve for key in line)
