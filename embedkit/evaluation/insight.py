"""What a report shows of a task besides its scores, from the embeddings that its evaluation has made anyway.

All of it is taken over samples that depend on the task's name and size alone: two models measured on one task are seen
on the same texts and pairs, and the cost does not grow with the corpus.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from embedkit.evaluation import geometry
from embedkit.evaluation.loading import StsData
from embedkit.evaluation.ranking import Ranking, Relevant
from embedkit.vectors.view import unit

Arrays = dict[str, np.ndarray]
"""``spectrum`` [d]: of the centred rows. ``positive``, ``negative``: similarities of sampled pairs. ``cloud`` [m, 2]: a
sample in the plane of its two principal directions, ``kind`` [m]: 1 of documents, ``held`` [2]: shares of the
variance on it, ``pairs`` [p, 2, 2]: positive pairs there. Retrieval also: ``rank``, ``first``, ``top`` [queries], see
`Ranking`."""
ROWS = 2048
"""Texts that geometry and spectrum are taken over."""
PAIRS, OTHERS = 5000, 20_000
"""Positive and other pairs."""
OTHERS_EACH = 20
"""Other documents drawn for a query."""
CLOUD, LINKED = 400, 60
"""Texts and positive pairs on the map."""

Paired = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""[p, d] and [p, d] -> similarities [p]."""


def of_sts(
    name: str, rows: np.ndarray, first: np.ndarray, second: np.ndarray, data: StsData, cosine: np.ndarray
) -> tuple[dict[str, Any], Arrays]:
    """Geometry and arrays of graded pairs: positive are those of `geometry.positives`, the others are all the rest.

    Args:
        name: of the task.
        rows: [u, d] embeddings of the distinct texts.
        first, second: [n] rows of each pair.
        data: of the task.
        cosine: [n] similarities.
    """
    rng = _generator(name)
    close = geometry.positives(data.gold)
    rest = np.setdiff1d(np.arange(len(data.gold)), close)
    over = _some(rng, len(rows), ROWS)
    pairs = _some(rng, len(close), PAIRS)
    a, b = first[close[pairs]], second[close[pairs]]
    arrays = _views(rows[over], np.zeros(len(over)), rows[a[:LINKED]], rows[b[:LINKED]])
    arrays["positive"] = cosine[close[pairs]].astype(np.float32)
    arrays["negative"] = cosine[rest[_some(rng, len(rest), OTHERS)]].astype(np.float32)
    return asdict(geometry.measure(rows, a, b, rows[over])), arrays


def of_retrieval(
    name: str,
    queries: np.ndarray,
    texts: np.ndarray,
    text_of: np.ndarray,
    relevant: Sequence[Relevant],
    rankings: Sequence[Ranking],
    paired: Paired,
) -> tuple[dict[str, Any], Arrays]:
    """Geometry and arrays of a search; negative pairs are a query and a random document that is not judged relevant.

    Args:
        name: of the task.
        queries: [q, d], one per query.
        texts: [u, d] embeddings of the distinct document texts.
        text_of: [n] the text of each document.
        relevant, rankings: per query.
        paired: similarity.
    """
    rng = _generator(name)
    asked = np.repeat(np.arange(len(queries)), [len(r.documents) for r in relevant])
    answer = np.concatenate([r.documents for r in relevant])
    pairs = _some(rng, len(asked), PAIRS)
    q, d = asked[pairs], text_of[answer[pairs]]
    other_q, other_d = _others(rng, relevant, len(text_of))
    over = _some(rng, len(queries) + len(texts), ROWS)
    sample = np.concatenate([queries[over[over < len(queries)]], texts[over[over >= len(queries)] - len(queries)]])
    kind = np.sort(over >= len(queries))
    arrays = _views(sample, kind, queries[q[:LINKED]], texts[d[:LINKED]])
    arrays["positive"] = paired(queries[q], texts[d]).astype(np.float32)
    arrays["negative"] = paired(queries[other_q], texts[text_of[other_d]]).astype(np.float32)
    arrays["rank"] = np.array([r.rank[0] for r in rankings])
    arrays["first"], arrays["top"] = (np.array([getattr(r, end) for r in rankings]) for end in ("first", "top"))
    (at_q, own_q), (at_d, own_d) = np.unique(q, return_inverse=True), np.unique(d, return_inverse=True)
    near = np.concatenate([queries[at_q], texts[at_d]])
    return asdict(geometry.measure(near, own_q, len(at_q) + own_d, sample)), arrays


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(b"insight"), zlib.crc32(name.encode("utf-8", "surrogatepass"))])


def _some(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    """Up to `most` of the numbers below `count`, ascending."""
    return np.sort(rng.choice(count, most, replace=False)) if count > most else np.arange(count)


def _others(rng: np.random.Generator, relevant: Sequence[Relevant], documents: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries [p] with documents [p] that are not relevant to them, nor left out."""
    chosen = _some(rng, len(relevant), OTHERS // OTHERS_EACH)
    queries, found = [], []
    for query in chosen.tolist():
        drawn = np.unique(rng.integers(documents, size=OTHERS_EACH))
        drawn = drawn[~np.isin(drawn, [*relevant[query].documents.tolist(), relevant[query].ignored])]
        queries += [query] * len(drawn)
        found.append(drawn)
    return np.array(queries, np.int64), np.concatenate(found)


def _views(sample: np.ndarray, kind: np.ndarray, first: np.ndarray, second: np.ndarray) -> Arrays:
    """Spectrum and map of a sample [m, d]; `first`, `second` are positive pairs [p, d]."""
    rows = unit(sample).astype(np.float64)
    middle = rows.mean(axis=0)
    values, directions = np.linalg.eigh((rows - middle).T @ (rows - middle))
    values, plane = values[::-1].clip(min=0), directions[:, ::-1][:, :2]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)  # an eigenvector has no sign of its own
    if plane.shape[1] < 2:
        plane = np.pad(plane, ((0, 0), (0, 1)))
    total = float(values.sum())
    shares = values / total if total > 0 else values
    few = np.linspace(0, len(rows) - 1, min(CLOUD, len(rows))).round().astype(np.int64)
    ends = np.stack([(unit(part) - middle) @ plane for part in (first, second)], axis=1)
    return {
        "spectrum": shares.astype(np.float32),
        "cloud": ((rows[few] - middle) @ plane).astype(np.float32),
        "kind": kind[few].astype(np.int8),
        "held": np.pad(shares[:2], (0, 2 - len(shares[:2]))).astype(np.float32),
        "pairs": ends.reshape(-1, 2, 2).astype(np.float32),
    }
