"""Classification without training texts: the label whose own text is the most similar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Content, Texts, digest_of, read_columns
from embedkit.evaluation.kinds.base import Measured
from embedkit.evaluation.kinds.nearest import nearest
from embedkit.evaluation.kinds.probe import over_draws, scores
from embedkit.evaluation.side import Side
from embedkit.foreign.quoting import listed, quoted
from embedkit.recipe.kinds import LabelPromptTask
from embedkit.types import Groups


@dataclass(frozen=True)
class Prompted:
    """Labelled texts with the texts of the labels.

    Attributes:
        content: of the files.
        labels: the label of each text, as a place among the prompts.
        prompts: for each template the text of every label.
        digest: content hash, of the prompts too.
    """

    content: Content
    labels: np.ndarray
    prompts: list[list[str]]
    digest: str

    @property
    def groups(self) -> Groups | None:
        """Of the test texts."""
        return self.content.groups

    @property
    def texts(self) -> Texts:
        """The texts, and those of the labels."""
        return [(self.content.test["text"], "query"), ([text for own in self.prompts for text in own], "document")]


def read(task: LabelPromptTask) -> Prompted:
    """Read the files and put the labels into the templates.

    Raises:
        DataError: see `embedkit.evaluation.content`; or a label has no text, or the text of another.
    """
    content = read_columns(task)
    said = task.labels or {name: " ".join(name.replace("_", " ").split()) for name in content.names}
    files = ", ".join(task.files)
    if missing := [name for name in content.names if name not in said]:
        what = f"labels of the files that `labels` says nothing of: {listed(missing)}"
        raise DataError(what, files, "write a text for each of them")
    _refuse_equal(said, files)
    place = {name: i for i, name in enumerate(said)}
    own = np.array([place[content.names[i]] for i in content.test["label"]])
    prompts = [[template.replace("{}", text) for text in said.values()] for template in task.templates]
    return Prompted(content, own, prompts, digest_of(content.test, {"label": prompts}))


def _refuse_equal(said: Mapping[str, str], files: str) -> None:
    first: dict[str, str] = {}
    for name, text in said.items():
        other = first.setdefault(text, name)
        if other != name:
            what = f"labels {quoted(other)} and {quoted(name)} have one text, {quoted(text)}"
            raise DataError(what, files, "say in `labels` what tells them apart")


def measure(side: Side, task: LabelPromptTask, data: Prompted) -> Measured:
    """Accuracy and F1, means over the templates, and the worst template's accuracy; an item is a text."""
    (texts, role), (labels, label_role) = data.texts
    found, place = side.encode(texts, role)
    named, label_place = side.encode(labels, label_role)
    name = similarity.chosen(task.similarity, side.encoder)
    found, named = similarity.prepared(name, found), similarity.prepared(name, named)
    each = np.split(label_place, len(data.prompts))
    said = np.array([nearest(found, named[own], similarity.between(name))[place] for own in each])
    values = scores(data.labels, said)
    right = (said == data.labels).T
    metrics = {"accuracy": float(right.mean()), "f1": float(np.mean(values["f1"]))}
    metrics["accuracy_worst"] = min(values["accuracy"])
    details = {
        "items": len(texts),
        "classes": len(data.prompts[0]),
        "templates": dict(zip(task.templates, [100 * value for value in values["accuracy"]], strict=True)),
        "draws": {"accuracy": over_draws(values["accuracy"])},
        "similarity": name,
    }
    return Measured(metrics, {"accuracy": right if len(each) > 1 else right[:, 0]}, details)
