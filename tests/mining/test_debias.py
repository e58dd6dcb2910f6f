"""From a text source to a triplet source: a real tiny encoder, the cache, the run's folder, the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from embedkit.data.sources import LoadedSource, load_source
from embedkit.data.text import text_id
from embedkit.disk.paths import locate
from embedkit.errors import DataError
from embedkit.mining.debias import REPORT, TRIPLETS, TripletRows, summary, triplet_source
from embedkit.mining.guide import load_guide
from embedkit.mining.triplets import NONE, Triplets
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.debias import Debias
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.schema import Model, Source
from tests.tiny import WORDS, tiny_bert

OPTIONS = Debias(neighbours=8, lexical=4, random=8, min_positive_similarity=0.65, max_negative_similarity=0.2)


def families(count: int) -> list[str]:
    """Sentences in families that share most of their words: some candidates are close, most are not."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count // 3):
        core = rng.choice(WORDS, 6, replace=False).tolist()
        for _ in range(3):
            words = [*core, *rng.choice(WORDS, rng.integers(0, 3)).tolist()]
            words[rng.integers(6)] = str(rng.choice(WORDS))
            made.append(" ".join(rng.permutation(words).tolist()))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("guide") / "base")


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return load_guide(None, Model(base=str(base)), "cpu")


def source(texts: Sequence[str]) -> LoadedSource:
    return load_source(Source(rows=tuple({"text": t, "label": i % 4} for i, t in enumerate(texts))))


class Counting:
    """A guide that counts what it is asked to encode."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.encoded, self.dim = encoder, 0, encoder.dim

    def __call__(self) -> Counting:
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += len(texts)
        return self.encoder.encode(texts)

    def fingerprint(self) -> str:
        return self.encoder.fingerprint()


def refuse() -> Encoder:
    raise AssertionError("the guide was loaded")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return families(240)


@pytest.fixture(scope="module")
def made(encoder: Encoder, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> LoadedSource:
    folder = tmp_path_factory.mktemp("made")
    return triplet_source(source(texts), OPTIONS, lambda: encoder, folder=folder / "run", cache=folder / "cache")


def test_positives_are_near_and_negatives_far(made: LoadedSource, encoder: Encoder, texts: list[str]) -> None:
    assert made.roles == {"query", "positive", "negative", "label"}
    assert (made.rows, made.max_negatives, made.streaming) == (240, 1, False)
    vectors = encoder.encode(texts)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    place = {text: i for i, text in enumerate(texts)}
    own = 0
    for i, example in enumerate(made.get(range(240))):
        assert example.query == texts[i] and example.label == i % 4
        (positive,) = example.positives
        if positive == example.query:
            own += 1
        else:
            assert vectors[i] @ vectors[place[positive]] >= 0.65 - 1e-5
        for negative in example.negatives:
            assert vectors[i] @ vectors[place[negative]] <= 0.2 + 1e-5
    report = made.made["debias"]
    assert report["with_positive"] == round(1 - own / 240, 4)
    assert 0.3 < report["with_positive"] < 1 and report["with_negative"] == 1
    assert report["before"]["surface"]["auc"] > 0.55, "shared words give nothing away here, so the test shows nothing"
    assert abs(report["drawn"]["surface"]["auc"] - 0.5) < abs(report["before"]["surface"]["auc"] - 0.5)
    assert len(summary(report)) == 3


def test_known_positives_are_those_of_every_copy_of_a_text(texts: list[str]) -> None:
    doubled = source([*texts[:6], texts[0]])
    t = Triplets(np.arange(7), np.array([1, 0, 3, 2, 5, 4, 2]), np.full((7, 2), NONE), np.array([*range(6), 0]))
    rows = TripletRows(doubled, t)
    first, other, copy = rows.get([0, 1, 6])
    both = {text_id(texts[1]), text_id(texts[2])}
    assert set(first.known) == set(copy.known) == both
    assert other.known == (text_id(texts[0]),)
    assert first.negatives == () and copy.positives == (texts[2],)


def test_a_sentence_without_a_close_one_is_itself_or_left_out(
    encoder: Encoder, texts: list[str], tmp_path: Path
) -> None:
    strict = OPTIONS.model_copy(update={"min_positive_similarity": 0.75})
    own = triplet_source(source(texts), strict, lambda: encoder, cache=tmp_path)
    dropped = triplet_source(
        source(texts), strict.model_copy(update={"no_positive": "drop"}), lambda: encoder, cache=tmp_path
    )
    alone = sum(e.positives == (e.query,) for e in own.get(range(240)))
    assert own.rows == 240 and 0 < alone < 240 and dropped.rows == 240 - alone
    assert all(e.positives != (e.query,) for e in dropped.get(range(dropped.rows)))
    assert dropped.skipped == {"no candidate is close enough to be a positive": alone}
    assert own.digest != dropped.digest
    with pytest.raises(DataError, match="no sentence has a candidate"):
        none = strict.model_copy(update={"min_positive_similarity": 1.0, "no_positive": "drop"})
        triplet_source(source(texts), none, lambda: encoder, cache=tmp_path)


def test_without_negatives(encoder: Encoder, texts: list[str], tmp_path: Path) -> None:
    made = triplet_source(
        source(texts[:60]), OPTIONS.model_copy(update={"negatives": 0}), lambda: encoder, cache=tmp_path
    )
    assert made.roles == {"query", "positive", "label"} and made.max_negatives == 0
    assert all(e.negatives == () for e in made.get(range(60)))


class TestCache:
    def test_a_second_run_reads_the_cache_and_a_resumed_one_its_folder(
        self, encoder: Encoder, texts: list[str], tmp_path: Path
    ) -> None:
        guide, cache = Counting(encoder), tmp_path / "cache"
        first = triplet_source(source(texts), OPTIONS, guide, folder=tmp_path / "a", cache=cache)
        assert guide.encoded == 240
        second = triplet_source(source(texts), OPTIONS, guide, folder=tmp_path / "b", cache=cache)
        assert guide.encoded == 240
        resumed = triplet_source(source(texts), OPTIONS, refuse, folder=tmp_path / "a", cache=tmp_path / "none")
        for other in (second, resumed):
            assert other.digest == first.digest and other.get(range(240)) == first.get(range(240))
        assert not list(cache.glob("embeddings-*")), "embeddings are not kept"

    @pytest.mark.parametrize("change", [{"seed": 1}, {"strength": 0.5}, {"negatives": 2}])
    def test_other_options_are_other_triplets(
        self, change: dict[str, float], encoder: Encoder, texts: list[str], tmp_path: Path
    ) -> None:
        guide = Counting(encoder)
        first = triplet_source(source(texts), OPTIONS, guide, folder=tmp_path / "a", cache=tmp_path)
        other = triplet_source(
            source(texts), OPTIONS.model_copy(update=change), guide, folder=tmp_path / "a", cache=tmp_path
        )
        assert guide.encoded == 480 and other.digest != first.digest
        assert other.get(range(240)) != first.get(range(240))

    def test_other_texts_or_another_guide_are_other_triplets(
        self, encoder: Encoder, texts: list[str], tmp_path: Path
    ) -> None:
        guide = Counting(encoder)
        triplet_source(source(texts), OPTIONS, guide, cache=tmp_path)
        triplet_source(source(texts[::-1]), OPTIONS, guide, cache=tmp_path)
        assert guide.encoded == 480
        other = Counting(Encoder.load(Model(base=str(tiny_bert(tmp_path / "other", seed=1)))))
        triplet_source(source(texts), OPTIONS, other, cache=tmp_path)
        assert other.encoded == 240

    def test_a_folder_half_copied_is_filled_again(self, encoder: Encoder, texts: list[str], tmp_path: Path) -> None:
        folder = tmp_path / "run"
        first = triplet_source(source(texts), OPTIONS, lambda: encoder, folder=folder, cache=tmp_path)
        (folder / REPORT).unlink()
        (folder / TRIPLETS).write_bytes(b"half")
        again = triplet_source(source(texts), OPTIONS, lambda: encoder, folder=folder, cache=tmp_path)
        assert again.get(range(240)) == first.get(range(240))

    @pytest.mark.parametrize("name", [REPORT, TRIPLETS])
    def test_what_is_damaged_is_sampled_again(
        self, name: str, encoder: Encoder, texts: list[str], tmp_path: Path
    ) -> None:
        folder, cache, guide = tmp_path / "run", tmp_path / "cache", Counting(encoder)
        first = triplet_source(source(texts[:60]), OPTIONS, guide, folder=folder, cache=cache)
        for number, content in enumerate((b"[" * 20_000, b"PK\x03\x04 half"), 2):
            (kept,) = cache.glob(f"*/{name}")
            for path in (kept, folder / name):
                path.write_bytes(content)
            again = triplet_source(source(texts[:60]), OPTIONS, guide, folder=folder, cache=cache)
            assert again.get(range(60)) == first.get(range(60)) and guide.encoded == 60 * number


def test_the_same_triplets_with_other_threads(encoder: Encoder, texts: list[str], tmp_path: Path) -> None:
    import faiss
    import torch

    before, found = (torch.get_num_threads(), faiss.omp_get_max_threads()), []
    approximate = OPTIONS.model_copy(update={"exact_below": 100})
    for options in (OPTIONS, approximate):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            faiss.omp_set_num_threads(threads)
            made = triplet_source(source(texts), options, lambda: encoder, cache=tmp_path / str(threads))
            found.append(made.get(range(240)))
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])
    assert found[0] == found[1] and found[2] == found[3]


def test_only_bare_text_can_be_debiased(tmp_path: Path, encoder: Encoder) -> None:
    pairs = load_source(Source(rows=({"query": "a", "positive": "b"},) * 3))
    with pytest.raises(DataError, match="roles positive, query"):
        triplet_source(pairs, OPTIONS, lambda: encoder, cache=tmp_path)
    (tmp_path / "t.txt").write_text("a\nb\nc\n")
    stream = load_source(settle(Source(path="t.txt", streaming=True), tmp_path))
    with pytest.raises(DataError, match="a stream"):
        triplet_source(stream, OPTIONS, lambda: encoder, cache=tmp_path)


def test_one_sentence_is_not_enough(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one sentence has no other"):
        triplet_source(source(["ba de"]), OPTIONS, lambda: encoder, cache=tmp_path)


def test_the_guide_is_the_base_model_before_training(base: Path, tmp_path: Path) -> None:
    trained = {"head": {"keep": True}, "pooling": "cls", "max_length": 9, "dropout": 0.3, "freeze": ["embeddings"]}
    guide = load_guide(None, Model.model_validate({"base": str(base), **trained}), "cpu")
    plain = Encoder.load(Model(base=str(base), pooling="cls", max_length=9), device="cpu")
    assert guide.fingerprint() == plain.fingerprint()
    named = load_guide(locate(base.name, "folder", [base.parent]), Model(base="nobody/nothing"), "cpu")
    assert named.fingerprint() == Encoder.load(Model(base=str(base)), device="cpu").fingerprint()


def test_rows_of_the_written_file_load_as_triplets(base: Path, texts: list[str], tmp_path: Path) -> None:
    from embedkit.cli import main

    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"s": t}) for t in texts[:60]), encoding="utf-8")
    out = tmp_path / "out" / "t.jsonl.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        options = ["--column", "s", "--pooling", "cls", "--max-length", "16", "--device", "cpu", "--offline"]
        arguments = ["debias", "--model", str(base), "--text", str(tmp_path / "text.jsonl"), "--out", str(out)]
        main_quietly(main, [*arguments, *options, "negatives=2"])
    loaded = load_source(settle(Source(path=str(out)), tmp_path))
    assert loaded.rows == 60 and loaded.max_negatives == 2
    assert loaded.roles == {"query", "positive", "negative"}
    assert json.loads((tmp_path / "out" / "t.json").read_text())["sentences"] == 60
    assert (tmp_path / "out" / "t.svg").read_text().startswith("<svg")


def main_quietly(main: Callable[[list[str]], None], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
