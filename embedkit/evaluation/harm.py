"""What a group suffers from being rare in training: two models on the same texts, one of whose data had few of it.

After smaityumich/CL-representation-harm@b7b7aa3, whose code is of images.
"""

from __future__ import annotations

import numpy as np

from embedkit.errors import EmbedkitError

ONE = 1 - 1e-6
"""A mean cosine beyond it says that two groups have one embedding."""


def group_cosines(rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean cosine of the texts of each group with those of each, [groups, groups]; a text with itself included.

    Args:
        rows: [n, d] embeddings.
        groups: [n] int from 0.
    """
    whole = rows.astype(np.float64)
    lengths = np.linalg.norm(whole, axis=1, keepdims=True)
    whole = whole / np.where(lengths > 0, lengths, 1.0)
    counts = np.bincount(groups)
    means = np.stack([whole[groups == group].sum(axis=0) for group in range(len(counts))]) / counts[:, None]
    return np.asarray(means @ means.T)


def representation_harm(balanced: np.ndarray, imbalanced: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """``(1 - S_ij of the imbalanced model) / (1 - S_ij of the balanced one)``, [groups, groups], of `group_cosines`.

    Below 1 off the diagonal: the two groups moved together when one of them was made rare.

    Args:
        balanced, imbalanced: [n, d] embeddings of the same texts by the two models.
        groups: [n] int from 0; each has some texts.

    Raises:
        EmbedkitError: the balanced model gives two groups one embedding, so that nothing can have moved together.
    """
    before, after = (group_cosines(rows, groups) for rows in (balanced, imbalanced))
    off = ~np.eye(len(before), dtype=bool)
    if (before[off] > ONE).any():
        what = "two groups have one embedding with the balanced model: what they lost has no measure"
        raise EmbedkitError(what, "representation harm", "look whether that model has collapsed")
    apart = 1 - before
    return np.asarray(np.divide(1 - after, apart, out=np.full_like(after, np.nan), where=apart > 0))


def allocation_harm(balanced: np.ndarray, mediator: np.ndarray, imbalanced: np.ndarray) -> dict[str, np.ndarray]:
    """How much of what a classifier loses comes from the embeddings: changes of confusion matrices, rows of sum 1.

    - ``total_effect``: imbalanced - balanced;
    - ``natural_indirect_effect``: mediator - balanced, by the embeddings;
    - ``reverse_natural_direct_effect``: imbalanced - mediator, by the classifier. The two add up to the first.

    Args:
        balanced: [classes, classes], balanced encoder and classifier.
        mediator: encoder of imbalanced data, classifier of balanced data.
        imbalanced: both of imbalanced data.
    """
    return {
        "total_effect": imbalanced - balanced,
        "natural_indirect_effect": mediator - balanced,
        "reverse_natural_direct_effect": imbalanced - mediator,
    }
