"""A text source turned into a source of triplets: built once, kept by content, read by everyone else."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import embedkit.mining as package
from embedkit.data.cache import cache_folder
from embedkit.data.sources import LoadedSource
from embedkit.data.text import text_id
from embedkit.disk import files
from embedkit.disk.locks import hold_folder
from embedkit.errors import DataError
from embedkit.foreign import showing
from embedkit.mining.pool import Pools
from embedkit.mining.surface import Words
from embedkit.mining.triplets import NONE, Triplets, sample
from embedkit.mining.vectors import PART, Vectors
from embedkit.recipe.debias import Debias
from embedkit.terminal import progress as terminal
from embedkit.types import Example
from embedkit.vectors.encoding import encode_into
from embedkit.vectors.space import Space
from embedkit.vectors.store import VectorStore

logger = showing.logger(__name__)

TRIPLETS, REPORT = "triplets.npz", "diagnostics.json"
_READ = 65_536


class Guide(Protocol):
    """What judges meaning: an `embedkit.model.running.encoder.Encoder`."""

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray: ...

    def fingerprint(self) -> str: ...


@dataclass
class TripletRows:
    """Examples of a text source with the positives and negatives drawn for them; texts stay in the text source.

    `known` names the positives drawn for every sentence of the same text.
    """

    texts: LoadedSource
    triplets: Triplets
    _twins: dict[int, list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        groups = self.triplets.group[self.triplets.anchor]
        _, first, counts = np.unique(groups, return_index=True, return_counts=True)
        many = set(groups[first[counts > 1]].tolist())
        self._twins = {}
        for row in np.flatnonzero(np.isin(groups, list(many))) if many else ():
            self._twins.setdefault(int(groups[row]), []).append(int(row))

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`."""
        rows, t = np.asarray(positions, dtype=np.int64), self.triplets
        groups = t.group[t.anchor[rows]].tolist()
        related = [self._twins.get(group, [row]) for group, row in zip(groups, rows.tolist(), strict=True)]
        wanted = [t.anchor[rows], t.positive[rows], t.negative[rows].ravel()]
        wanted += [t.positive[row] for row in related]
        needed = np.unique(np.concatenate(wanted))
        needed = needed[needed != NONE]
        found = dict(zip(needed.tolist(), self.texts.get(needed.tolist()), strict=True))
        return [
            replace(
                found[int(t.anchor[row])],
                positives=(found[int(t.positive[row])].query,),
                negatives=tuple(found[j].query for j in t.negative[row].tolist() if j != NONE),
                known=tuple(dict.fromkeys(text_id(found[int(p)].query) for p in t.positive[twins])),
            )
            for row, twins in zip(rows.tolist(), related, strict=True)
        ]


def triplet_source(
    texts: LoadedSource,
    options: Debias,
    guide: Callable[[], Guide],
    *,
    folder: Path | None = None,
    cache: Path | None = None,
    name: str = "",
    progress: bool = False,
) -> LoadedSource:
    """Sample triplets from a text source, or read those that were sampled before.

    Looked for in this order: `folder`, the cache under a key of texts, guide, options and code. What is found in
    the cache or built is copied to `folder`, which then needs neither guide nor cache.

    Args:
        texts: a loaded source with role ``text``, no stream.
        options: the recipe's block.
        guide: loads the model that judges meaning; called only when `folder` has no triplets.
        folder: of the run, gets ``triplets.npz`` and ``diagnostics.json``; None: they stay in the cache alone.
        cache: default ``$XDG_CACHE_HOME/embedkit/debias``.
        name: of the guide, for the record.
        progress: show bars.

    Returns:
        A source with roles query, positive, negative, and the diagnostics in `made`.

    Raises:
        DataError: the source is not bare text or a stream, has fewer than two texts, or none has a positive and
            `no_positive` is ``drop``.
    """
    if "text" not in texts.roles or texts.rows is None:
        what = "a stream" if texts.rows is None else f"roles {', '.join(sorted(texts.roles))}"
        raise DataError(
            f"debias samples from sentences that are all there, with role text; this is {what}",
            texts.name,
            "name the column in `roles: {text: COLUMN}`, without streaming; or remove debias",
        )
    asked = _digest([texts.digest, texts.rows, options.model_dump(mode="json"), name])
    found = None if folder is None else _held(folder)
    if found is None or found[1].get("asked") != asked:
        kept = _provide(texts, options, guide(), cache or cache_folder("debias"), name, progress)
        found = _held(kept if folder is None else _copied(kept, folder, asked))
    assert found is not None, "it was written this moment"
    triplets, report = found
    roles = (texts.roles - {"text"}) | {"query", "positive"} | ({"negative"} if options.negatives else set())
    skipped = dict(texts.skipped)
    if len(triplets) < texts.rows:
        skipped["no candidate is close enough to be a positive"] = texts.rows - len(triplets)
    return replace(
        texts,
        roles=frozenset(roles),
        rows=len(triplets),
        digest=_digest([texts.digest, report["key"]]),
        max_negatives=options.negatives,
        store=TripletRows(texts, triplets),
        skipped=skipped,
        made={"debias": report},
    )


def summary(report: dict[str, Any]) -> list[str]:
    """The diagnostics in a few lines."""
    before, drawn, random = report["before"], report["drawn"], report["random_pairs"]
    lines = [
        f"{report['with_positive']:.1%} of {report['sentences']:,} sentences got a positive of their own, "
        f"{report['with_negative']:.1%} a negative"
    ]
    if random:
        lines[0] += f"; random pairs have cos {random['mean']:.2f} (99 % are below {random['quantile_99']:.2f})"
    for feature, words in (("surface", "surface similarity"), ("length", "length difference")):
        if before[feature]["auc"] is None or drawn[feature]["auc"] is None:
            continue
        lines.append(
            f"{words}: a positive has more than a negative in {before[feature]['auc']:.1%} of the cases when chosen "
            f"by meaning alone, {drawn[feature]['auc']:.1%} as drawn; correlation with the label "
            f"{before[feature]['correlation']:+.3f}, {drawn[feature]['correlation']:+.3f}"
        )
    return lines


def _provide(texts: LoadedSource, options: Debias, guide: Guide, cache: Path, name: str, progress: bool) -> Path:
    """The folder of the cache with triplets and report, built now if it is not there."""
    fingerprint = guide.fingerprint()
    key = _digest([texts.digest, texts.rows, options.model_dump(mode="json", exclude={"guide"}), fingerprint, _code()])
    kept = cache / key
    with hold_folder(kept, "sampling triplets", wait=True):
        if _held(kept) is not None:
            logger.info("triplets of %s are taken from %s", texts.name, kept)
            return kept
        start = time.perf_counter()
        triplets, report = _build(texts, options, guide, cache, fingerprint, progress)
        head = {"sentences": texts.rows, "rows": len(triplets), "guide": name, "fingerprint": fingerprint, "key": key}
        triplets.save(kept / TRIPLETS)
        took = round(time.perf_counter() - start, 1)
        files.write_json(kept / REPORT, {**head, "seconds": took, **report})  # last: marks it whole
    return kept


def _copied(kept: Path, folder: Path, asked: str) -> Path:
    files.write_bytes(folder / TRIPLETS, (kept / TRIPLETS).read_bytes())
    report = files.json_in(kept / REPORT)
    files.write_json(folder / REPORT, {"asked": asked, **report})
    return folder


def _build(
    texts: LoadedSource, options: Debias, guide: Guide, cache: Path, fingerprint: str, progress: bool
) -> tuple[Triplets, dict[str, Any]]:
    assert texts.rows is not None
    if texts.rows < 2:
        raise DataError("one sentence has no other to be contrasted with", texts.name, "give more sentences")
    sentences = [e.query for i in range(0, texts.rows, _READ) for e in texts.get(range(i, min(texts.rows, i + _READ)))]
    embeddings = cache / f"embeddings-{_digest([texts.digest, texts.rows, fingerprint])}"
    with hold_folder(embeddings, "encoding sentences", wait=True):
        shelf = VectorStore(embeddings).of(Space(fingerprint, guide.dim))
        view = encode_into(
            shelf, sentences, guide.encode, call=PART, progress=progress, what="Encoding sentences", unit="sentences"
        )
        group = np.unique([text_id(sentence) for sentence in sentences], return_inverse=True)[1]
        pools = Pools(Vectors(view, center=options.center), Words.of(sentences), group, options)
        with _bar("Sampling triplets", texts.rows, progress) as say:
            made = sample(pools, group, options, say)
        shutil.rmtree(embeddings, ignore_errors=True)
    return made


@contextmanager
def _bar(what: str, total: int, progress: bool) -> Iterator[Callable[[int], None]]:
    with terminal.progress(what, total, "sentences", show=progress) as bar:
        yield lambda done: bar.advance(done - bar.done)


def _held(folder: Path) -> tuple[Triplets, dict[str, Any]] | None:
    """Triplets and their report; None where they are not there, or damaged: they are sampled again."""
    report = files.json_in(folder / REPORT)
    if not isinstance(report, dict):
        return None
    try:
        return Triplets.load(folder / TRIPLETS), report
    except files.DAMAGED_ARRAYS:
        return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()[:24]


def _code() -> str:
    """Hash of this package: triplets of other code are other triplets."""
    files = sorted(Path(next(iter(package.__path__))).glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
