"""How embeddings lie on the sphere: alignment, uniformity, tolerance, anisotropy, hubness, directions they use.

Every function takes raw embeddings and normalises the rows; a zero row stays zero. Sums are taken in float64, and rows
that are given in float64 stay so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedkit.errors import DataError
from embedkit.types import Encodes
from embedkit.vectors.view import unit as unit_single

POSITIVE = 0.8
"""Share of the largest gold score from which a graded pair counts as positive: 4 of 5 on STS."""
NEIGHBOURS = 10
"""Nearest rows that `hubness` counts."""
TINY = 1e-7
"""Added to each share of `rankme`, as its paper does in float32."""
BLOCK = 2048
"""Rows whose distances are held at once: 16 MiB of float32 per block pair, whatever n is."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [n, d] at length 1, zero rows as they are; in float64 where they come so, else in float32."""
    if rows.dtype != np.float64:
        return unit_single(rows)
    found: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


@dataclass(frozen=True)
class Geometry:
    """What `measure` finds in one set of embeddings.

    Attributes:
        alignment: mean squared distance of positive pairs, 0..4, small is good; None without a positive pair.
        uniformity: log of the mean of ``exp(-2 d^2)`` over all pairs of different rows, -8..0, small is good.
        tolerance: mean cosine within the classes that positive pairs make, -1..1; None without a positive pair.
        mean_cosine: mean cosine of different rows; near 0 for isotropic embeddings, near 1 for a narrow cone.
        first_direction: share of the uncentred second moment that its first direction holds, 1/dim..1.
        hubness: skewness of how often a row is among the nearest of others; 0 when all are equally often.
        rankme: exp of the entropy of the singular values of the uncentred unit rows.
        effective_rank: exp of the entropy of the spectrum of the *centred* unit rows.
        effective_rank_raw: the same without centring; a common direction counts, and an anisotropic set has few.
        energy_rank: directions that hold 90 % of the variance of the centred unit rows.
        positives, texts: how many pairs and rows were measured.
        dim: size of an embedding, the largest rank possible (for more rows than that).
    """

    alignment: float | None
    tolerance: float | None
    uniformity: float
    mean_cosine: float
    first_direction: float
    hubness: float
    rankme: float
    effective_rank: float
    effective_rank_raw: float
    energy_rank: int
    positives: int
    texts: int
    dim: int


def measure(embeddings: np.ndarray, first: np.ndarray, second: np.ndarray, over: np.ndarray | None = None) -> Geometry:
    """All measures of one set of embeddings.

    Args:
        embeddings: [n, d], one row per distinct text, n > 1.
        first, second: [p] rows that make the positive pairs; p may be 0.
        over: [m, d] rows, m > 1, that everything but alignment and tolerance is taken over; None: `embeddings`.
    """
    pairs = unit(embeddings)
    rows = pairs if over is None else unit(over)
    centred, raw = spectrum(rows, centred=True), spectrum(rows, centred=False)
    return Geometry(
        alignment=alignment(pairs[first], pairs[second]) if len(first) else None,
        tolerance=tolerance(pairs, first, second) if len(first) else None,
        uniformity=uniformity(rows),
        mean_cosine=mean_cosine(rows),
        first_direction=float(raw[0]),
        hubness=hubness(rows),
        rankme=rankme(raw),
        effective_rank=entropy_rank(centred),
        effective_rank_raw=entropy_rank(raw),
        energy_rank=energy_rank(centred),
        positives=len(first),
        texts=len(rows),
        dim=rows.shape[1],
    )


def geometry(
    encoder: Encodes,
    pairs: Sequence[tuple[str, str]],
    texts: Sequence[str] = (),
    *,
    role: str = "query",
    batch_tokens: int = 8192,
    progress: bool = False,
) -> Geometry:
    """Measure a model on positive pairs.

    Args:
        encoder: the model.
        pairs: texts that should be close; alignment is taken over them.
        texts: further texts. Uniformity and the ranks are taken over every distinct text of `pairs` and `texts`.
        role: picks the prompt.
        batch_tokens: padded tokens per batch.
        progress: show a bar.

    Raises:
        DataError: fewer than two distinct texts.
    """
    sides = [text for pair in pairs for text in pair]
    place = {text: i for i, text in enumerate(dict.fromkeys([*sides, *texts]))}
    if len(place) < 2:
        raise DataError(f"{len(place)} distinct texts have no geometry", "geometry", "give two texts or more")
    found = encoder.encode(list(place), role=role, batch_tokens=batch_tokens, progress=progress)
    index = np.array([place[text] for text in sides], dtype=np.int64).reshape(-1, 2)
    return measure(found, index[:, 0], index[:, 1])


def positives(gold: np.ndarray) -> np.ndarray:
    """Indices of the graded pairs that count as positive: gold >= `POSITIVE` x the largest gold of the set.

    On a scale of 0 to 5 that is 4 and more, SimCSE's choice on STS-B (arXiv 2104.08821).
    """
    return np.flatnonzero(gold >= POSITIVE * gold.max()) if gold.max() > 0 else np.array([], np.int64)


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Mean of ``|u - v|^2`` over positive pairs of unit vectors; `first` and `second` are [p, d].

    Wang and Isola 2020 (arXiv 2005.10242).
    """
    apart = unit(first).astype(np.float64) - unit(second)
    return float((apart**2).sum(axis=1).mean())


def tolerance(
    embeddings: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    over: Literal["class", "different", "all"] = "class",
) -> float:
    """Mean of ``u_i . u_j`` over all i < j of one class: how close texts stay that mean the same.

    Wang and Liu 2021 (arXiv 2012.09740, eq. 8), whose classes are labels. Here a class is what positive pairs connect:
    a query, its relevant documents, and the other queries that these answer. With pairs that share no text it is
    ``1 - alignment / 2``.

    Args:
        embeddings: [n, d].
        first, second: [p] rows that make the positive pairs, p > 0.
        over: class: the mean over pairs of one class. different, all: the equation to the letter, a product with the
            indicator of one class averaged over all pairs of different rows, or of any, a row with itself too; both
            grow with the share of pairs that are of one class.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = unit(embeddings).astype(np.float64)
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(rows), len(rows)))
    count, label = connected_components(links, directed=False)
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, label, rows)
    sizes = np.bincount(label)
    itself, n = (rows**2).sum(), len(rows)
    within = (sums**2).sum() - itself
    if over == "all":
        return float((within + itself) / n**2)
    return float(within / max(1, n * (n - 1) if over == "different" else (sizes * (sizes - 1)).sum()))


def uniformity(embeddings: np.ndarray, t: float = 2.0) -> float:
    """``log mean_{i<j} exp(-t |u_i - u_j|^2)`` over the unit rows of `embeddings` [n, d].

    Wang and Isola 2020 (arXiv 2005.10242), t = 2.

    Exact over all n (n - 1) / 2 pairs, in blocks: memory does not grow with n.
    """
    rows = unit(embeddings)
    sizes = (rows.astype(np.float64) ** 2).sum(axis=1).astype(rows.dtype)  # 1, or 0 for a zero row
    total = 0.0
    for start in range(0, len(rows), BLOCK):
        block, own = rows[start : start + BLOCK], sizes[start : start + BLOCK, None]
        for other in range(start, len(rows), BLOCK):
            apart = block @ rows[other : other + BLOCK].T
            apart *= -2
            apart += own
            apart += sizes[other : other + BLOCK]
            np.maximum(apart, 0, out=apart)
            apart *= -t
            np.exp(apart, out=apart)
            total += float(np.triu(apart, 1).sum(dtype=np.float64) if other == start else apart.sum(dtype=np.float64))
    return float(np.log(total / (len(rows) * (len(rows) - 1) / 2)))


def mean_cosine(embeddings: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows of [n, d]: ``(|sum u|^2 - sum |u|^2) / (n (n - 1))``.

    The anisotropy of Ethayarajh 2019 (arXiv 1909.00512), without the adjustment for words in context.
    """
    rows = unit(embeddings).astype(np.float64)
    whole, n = rows.sum(axis=0), len(rows)
    return float((whole @ whole - (rows**2).sum()) / (n * (n - 1)))


def singular_values(embeddings: np.ndarray, *, centred: bool, normalised: bool = True) -> np.ndarray:
    """Singular values of the rows of [n, d], descending, [min(n, d)], float64.

    Through the triangular factor where there are more rows than dimensions: small ones keep all their digits, which a
    root of the eigenvalues of the products would not.

    Args:
        embeddings: [n, d].
        centred: subtract the mean of the rows first.
        normalised: bring rows to length 1 before that.
    """
    rows = (unit(embeddings) if normalised else embeddings).astype(np.float64)
    if centred:
        rows -= rows.mean(axis=0)
    if len(rows) > rows.shape[1]:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    return np.linalg.svd(rows, compute_uv=False)


def spectrum(embeddings: np.ndarray, *, centred: bool, normalised: bool = True) -> np.ndarray:
    """Eigenvalues of ``Z^T Z / n`` with Z the unit rows of [n, d], descending, summing to 1; the first min(n, d), the
    others are 0.

    Args:
        embeddings: [n, d].
        centred: subtract the mean of the rows first, which makes the matrix their covariance.
        normalised: False: Z are the rows as they are.
    """
    values: np.ndarray = singular_values(embeddings, centred=centred, normalised=normalised) ** 2
    total = values.sum()
    return values / total if total > 0 else values


def entropy_rank(values: np.ndarray) -> float:
    """Effective rank ``exp(-sum p log p)`` of a `spectrum` p (Roy and Vetterli 2007, on eigenvalues as in VNE,
    arXiv 2304.01434); 1 when one direction holds everything, 0 when there is no variance at all."""
    held = values[values > 0]
    return float(np.exp(-(held * np.log(held)).sum())) if len(held) else 0.0


def singular_rank(values: np.ndarray) -> float:
    """Effective rank as Roy and Vetterli (2007) define it, of singular values: ``exp(-sum p log p)``, p their shares of
    their sum. Larger than `entropy_rank`, whose shares are of the squares; 0 when there is no variance at all.

    Args:
        values: `spectrum`: the squares of the singular values in shares.
    """
    sizes = np.sqrt(values)
    return entropy_rank(sizes / max(sizes.sum(), 1e-300))


def rankme(values: np.ndarray, *, rescaled: bool = False) -> float:
    """RankMe ``exp(-sum_k p_k log p_k)`` with ``p_k = s_k / sum s + 1e-7`` and s the singular values.

    Garrido et al. 2023 (arXiv 2210.02885), there of embeddings as they are, here of unit rows. It grows with the rows
    measured until these are many times the dimensions: only sets of one size compare.

    Args:
        values: `spectrum`, not centred: the squares of s in shares.
        rescaled: divide the p_k by their sum, which is 1 + 1e-7 k otherwise (pakoromilas/DHEL-KCL).
    """
    sizes = np.sqrt(values)
    shares = sizes / max(sizes.sum(), 1e-300) + TINY
    if rescaled:
        shares = shares / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def hubness(embeddings: np.ndarray, neighbours: int = NEIGHBOURS) -> float:
    """Skewness of N_k, in how many other rows' k nearest (by cosine) a row is: ``E[(N - mean)^3] / sd^3``.

    Radovanovic, Nanopoulos and Ivanovic 2010 (JMLR 11, 2487-2531), k = 10. Large when few rows are near to many, which
    then come up for every query. 0 where all are equally often, and for fewer than three rows.

    Args:
        embeddings: [n, d].
        neighbours: k, at most n - 1.
    """
    rows = unit(embeddings)
    k = min(neighbours, len(rows) - 1)
    if len(rows) < 3:
        return 0.0
    counts = np.zeros(len(rows), np.int64)
    for start in range(0, len(rows), BLOCK // 4):
        near = rows[start : start + BLOCK // 4] @ rows.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        counts += np.bincount(np.argpartition(-near, k - 1, axis=1)[:, :k].ravel(), minlength=len(rows))
    away = counts - counts.mean()
    spread = float(np.sqrt((away**2).mean()))
    return float((away**3).mean() / spread**3) if spread > 0 else 0.0


def energy_rank(values: np.ndarray, share: float = 0.9) -> int:
    """The smallest number of directions of a `spectrum` that hold at least `share` of its sum; 0 without variance."""
    if not values.any():
        return 0
    return int(np.searchsorted(np.cumsum(values), share * (1 - 1e-12)) + 1)
