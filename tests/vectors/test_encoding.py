"""Encoding into the store: once, in bounds, and on from where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError, EmbedkitError
from embedkit.vectors import encoding
from embedkit.vectors.encoding import encode_into
from embedkit.vectors.space import Space
from embedkit.vectors.store import Shelf, VectorStore
from tests.vectors.test_store import vectors

SPACE = Space("model", 4)


class Encoder:
    """Vectors that depend on the whole call, as those of a real encoder do in their last bits."""

    def __init__(self, fail_at: int = 10**9) -> None:
        self.calls: list[list[str]] = []
        self.fail_at = fail_at

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        return vectors(texts) + 1e-3 * len("".join(texts))

    @property
    def counts(self) -> Counter[str]:
        return Counter(text for call in self.calls for text in call)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "WINDOW", 20)
    monkeypatch.setattr(encoding, "_PIECE", 7)


def corpus(n: int, seed: int = 0) -> list[str]:
    """Texts of many lengths, some of them several times."""
    rng = np.random.default_rng(seed)
    return [f"{i:d} " + "x" * i for i in rng.integers(0, n, n).tolist()]


def shelf(root: Path, **options: float) -> Shelf:
    return VectorStore(root, **options).of(SPACE)


@pytest.mark.usefixtures("small")
class TestOnce:
    def test_every_different_text_is_encoded_once_and_found_in_order(self, tmp_path: Path) -> None:
        texts, encode = corpus(75), Encoder()
        view = encode_into(shelf(tmp_path), texts, encode, call=8)
        assert encode.counts == Counter(set(texts)) and len(set(texts)) < 60
        place = {t: i for i, t in enumerate(texts)}
        np.testing.assert_array_equal(view[:], view.take([place[t] for t in texts]))
        np.testing.assert_allclose(view[:], vectors(texts), atol=1)
        again = Encoder()
        np.testing.assert_array_equal(encode_into(shelf(tmp_path), texts[::-1], again)[::-1], view[:])
        assert not again.calls

    def test_calls_are_small_and_of_like_length(self, tmp_path: Path) -> None:
        encode = Encoder()
        encode_into(shelf(tmp_path), corpus(75), encode, call=8)
        assert max(map(len, encode.calls)) == 8
        for call in encode.calls:
            assert call == sorted(call, key=len, reverse=True)
        assert len(list((tmp_path / SPACE.digest).glob("*.npy"))) == 4, "a shard for each window"

    def test_a_shard_lies_in_the_order_of_the_corpus(self, tmp_path: Path) -> None:
        made = shelf(tmp_path)
        texts = list(dict.fromkeys(corpus(20)))
        view = encode_into(made, texts, Encoder())
        np.testing.assert_array_equal(np.load(made.folder / "000000.npy"), view[:])

    def test_an_empty_corpus(self, tmp_path: Path) -> None:
        assert encode_into(shelf(tmp_path), [], Encoder())[:].shape == (0, 4)


@pytest.mark.usefixtures("small")
class TestStopped:
    @pytest.mark.parametrize("calls", [0, 1, 3, 5, 6])
    def test_stopped_anywhere_it_goes_on_to_the_same_bits(self, tmp_path: Path, calls: int) -> None:
        texts = corpus(75)
        whole = encode_into(shelf(tmp_path / "whole"), texts, Encoder(), call=8)[:]
        first, second = Encoder(fail_at=calls), Encoder()
        with pytest.raises(KeyboardInterrupt):
            encode_into(shelf(tmp_path / "cut"), texts, first, call=8)
        np.testing.assert_array_equal(encode_into(shelf(tmp_path / "cut"), texts, second, call=8)[:], whole)
        assert first.counts + second.counts == Counter(set(texts)), "what was done is kept"

    def test_slow_encoding_is_kept_before_the_window_is_full(self, tmp_path: Path) -> None:
        made, seconds = shelf(tmp_path), iter(range(0, 10**6, 25))
        encode_into(made, corpus(20), Encoder(), call=2, clock=lambda: float(next(seconds)))
        assert len(list(made.folder.glob("*.npy"))) > 1

    def test_nan_in_the_middle_names_the_text_and_keeps_the_rest(self, tmp_path: Path) -> None:
        texts = [f"text {i}" for i in range(50)]

        def encode(some: Sequence[str]) -> np.ndarray:
            found = vectors(some)
            found[[i for i, t in enumerate(some) if t == "text 33"]] = np.nan
            return found

        made = shelf(tmp_path)
        with pytest.raises(EmbedkitError, match=r"^text 33: 1 of 2 vectors are not finite, first of 'text 33'"):
            encode_into(made, texts, encode, call=2)
        assert made.missing(texts).tolist() == [*range(32, 50)]

    def test_an_encoder_that_leaves_one_out(self, tmp_path: Path) -> None:
        with pytest.raises(EmbedkitError, match="19 vectors of 4 dimensions for 20 texts of 4"):
            encode_into(shelf(tmp_path), [f"text {i}" for i in range(50)], lambda some: vectors(some[1:]))


@pytest.mark.usefixtures("small")
class TestBounds:
    def test_texts_are_read_once_from_front_to_back(self, tmp_path: Path) -> None:
        class Lazy(Sequence[str]):
            read = 0

            def __len__(self) -> int:
                return 75

            def __getitem__(self, part: slice) -> list[str]:  # type: ignore[override]
                assert part.start == self.read and part.stop - part.start <= 7
                self.read = part.stop
                return [f"text {i}" for i in range(75)[part]]

        texts = Lazy()
        view = encode_into(shelf(tmp_path), texts, vectors)
        assert texts.read == 75
        np.testing.assert_array_equal(view[:], vectors([f"text {i}" for i in range(75)]))

    def test_little_memory_and_long_texts_make_short_windows(self, tmp_path: Path) -> None:
        encode = Encoder()
        made = shelf(tmp_path, ram_gb=4 * 4 * 64 / 2**30)  # room for 4 vectors with their copies, or 64 characters
        encode_into(made, corpus(30), encode)
        assert max(map(len, encode.calls)) == 4
        encode = Encoder()
        made = shelf(tmp_path / "long", ram_gb=4 * 4 * 100 / 2**30)
        encode_into(made, [f"{i} " + "y" * 500 for i in range(30)], encode)
        assert max(map(len, encode.calls)) == 6

    def test_a_corpus_that_shrinks(self, tmp_path: Path) -> None:
        class Shrinking(list[str]):
            def __len__(self) -> int:
                return 30

        with pytest.raises(DataError, match="25 texts where 30 were said to be"):
            encode_into(shelf(tmp_path), Shrinking(f"text {i}" for i in range(25)), vectors)


KILLED = """
import sys, time
from pathlib import Path
from embedkit.vectors import encoding
from embedkit.vectors.space import Space
from embedkit.vectors.store import VectorStore
from tests.vectors.test_encoding import corpus
from tests.vectors.test_store import vectors

encoding.WINDOW = 20
log = open(sys.argv[2], "a")

def encode(texts):
    time.sleep(0.02)
    print(*texts, sep="\\n", file=log, flush=True)
    return vectors(texts) + 1e-3 * len("".join(texts))

view = encoding.encode_into(VectorStore(Path(sys.argv[1])).of(Space("model", 4)), corpus(200), encode, call=8)
print(view[:].tobytes().hex())
"""


def run(root: Path, log: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root), str(log)], stdout=subprocess.PIPE, text=True, env=environ
    )


def test_killed_at_any_moment_it_goes_on_with_the_next_shard(tmp_path: Path) -> None:
    """At most the shard that was not written is encoded again, and the vectors are those of an uncut run."""
    whole, _ = run(tmp_path / "whole", tmp_path / "log").communicate()
    cut, kills = tmp_path / "cut", 0
    folder = cut / SPACE.digest
    for shards in (1, 3, 6):
        child = run(cut, tmp_path / "cut.log")
        while child.poll() is None and len(list(folder.glob("*.keys"))) < shards:
            time.sleep(0.005)
        time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        kills += child.returncode == -signal.SIGKILL
    done, _ = run(cut, tmp_path / "cut.log").communicate()
    assert kills == 3 and done == whole and len(bytes.fromhex(done.strip())) == 200 * 16
    counts = Counter((tmp_path / "cut.log").read_text().splitlines())
    assert set(counts) == set(corpus(200))
    assert sum(n - 1 for n in counts.values()) <= 3 * 20, "one window for each kill"
