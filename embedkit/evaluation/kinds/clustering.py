"""Clustering: how well k-means finds the classes of the texts again."""

from __future__ import annotations

import random
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embedkit.evaluation.collapse import check_nested, class_collapse
from embedkit.evaluation.content import Content, Texts, label_of, read_columns, rows
from embedkit.evaluation.files import column
from embedkit.evaluation.kinds.base import SEED, Measured, means
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import ClusteringTask
from embedkit.vectors.view import unit

CLUSTERINGS = 10
MOST = 16_384
"""Texts of one clustering."""
BATCH = 512
"""Of k-means."""


@dataclass(frozen=True)
class Clustered:
    """Labelled texts, and their finer labels where the task asks for some.

    Attributes:
        content: of the files.
        subclasses: [n] int from 0, or None.
    """

    content: Content
    subclasses: np.ndarray | None = None

    @property
    def texts(self) -> Texts:
        """All of them."""
        return self.content.texts

    @property
    def digest(self) -> str:
        """Content hash."""
        return self.content.digest


def read(task: ClusteringTask) -> Clustered:
    """Read the files.

    Raises:
        DataError: see `embedkit.evaluation.content`; or subclasses that do not lie inside classes.
    """
    content = read_columns(task)
    if task.subclass is None:
        return Clustered(content)
    column_of = task.subclass
    values = [label_of(column(row, column_of), column_of, row) for row in rows(task.files, (task.text, column_of))]
    labels = [content.names[code] for code in content.test["label"]]
    check_nested(labels, values, ", ".join(task.files))
    return Clustered(content, np.unique(np.array(values, dtype=object), return_inverse=True)[1])


def measure(side: Side, task: ClusteringTask, data: Clustered) -> Measured:
    """V-measure and adjusted mutual information, means over `CLUSTERINGS` resamples of the texts, as mteb does."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import adjusted_mutual_info_score

    ((texts, role),) = data.texts
    found, place = side.encode(texts, role)
    vectors, labels = found[place], np.array(data.content.test["label"])
    draw, size = random.Random(SEED), min(MOST, len(labels))  # noqa: S311
    classes = len(np.unique(labels))
    model = MiniBatchKMeans(classes, batch_size=BATCH, init="k-means++", n_init=1, random_state=SEED)
    per_item, ami = [], []
    for _ in range(CLUSTERINGS):
        chosen = np.array(draw.choices(range(len(labels)), k=size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer different embeddings than clusters, which the score shows
            clusters = model.fit_predict(vectors[chosen])
        per_item.append(spread(v_measure_items(labels[chosen], clusters), chosen, len(labels)))
        ami.append(float(adjusted_mutual_info_score(labels[chosen], clusters)))
    units = {"v_measure": np.stack(per_item, axis=1)}
    details: dict[str, Any] = {"items": len(labels), "classes": classes, "clusterings": CLUSTERINGS, "size": size}
    if data.subclasses is not None:
        details["class_collapse"] = asdict(class_collapse(unit(vectors), labels, data.subclasses))
    return Measured({**means(units), "ami": float(np.mean(ami))}, units, details)


def v_measure_items(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Per-item values [n] whose mean is the v-measure, and whose spread is that of its estimate.

    ``V = 2 I(C, K) / (H(C) + H(K))`` (Rosenberg and Hirschberg 2007, D07-1043, with beta = 1) is no mean over items,
    but to first order its resamples are those of the mean of ``V + f_i`` with its influence function

        f_i = (2 (i_i - I) - V (h_i - H(C) + k_i - H(K))) / (H(C) + H(K))

    where ``i_i``, ``h_i`` and ``k_i`` are item i's terms of I, H(C) and H(K). Resampling the items themselves would be
    biased: entropies of fewer different items are smaller.

    Args:
        labels, clusters: [n] int.
    """
    label, cluster = (np.unique(side, return_inverse=True)[1] for side in (labels, clusters))
    both = np.unique(label * (cluster.max() + 1) + cluster, return_inverse=True)[1]
    size = len(label)
    h, k, joint = (-np.log(np.bincount(code)[code] / size) for code in (label, cluster, both))
    shared = h + k - joint
    total = h.mean() + k.mean()
    if total == 0:  # one class in one cluster
        return np.ones(size)
    value = 2 * shared.mean() / total
    surprise = h - h.mean() + k - k.mean()
    return np.asarray(value + (2 * (shared - shared.mean()) - value * surprise) / total)


def spread(values: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """Values of drawn items as values of all items, [count], with the same mean.

    Args:
        values: [m], of the drawn items.
        chosen: [m], which item each is; items may repeat.
        count: how many items there are.
    """
    mean = float(values.mean())
    return mean + np.bincount(chosen, values - mean, minlength=count) * count / len(chosen)
