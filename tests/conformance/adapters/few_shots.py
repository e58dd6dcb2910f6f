"""Adapters of the schema "retrieval": what is made of few labelled texts, and the losses on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedkit.data.demonstrations import demonstration_filter
from embedkit.data.label_texts import entailment_rows
from embedkit.data.pairs import setfit_pairs
from embedkit.data.templates import assigned
from embedkit.objectives.anchors import anchor_angles
from embedkit.objectives.base import build
from embedkit.recipe.objectives.anchors import LabelAnchors
from embedkit.recipe.objectives.pull import CosinePull
from embedkit.recipe.objectives.supcon import SupCon
from tests.conformance.ours import embeddings, loss, option
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "setfit_pairs")
def pairs(case: Case) -> dict[str, Any]:
    labels = np.array(case.inputs.fields["labels"])
    case.hyper.only("multilabel", labels.ndim == 2)
    most = case.hyper["max_pairs"]
    made = setfit_pairs(
        labels,
        sampling=case.hyper.only("sampling_strategy", "oversampling", "undersampling", "unique"),
        iterations=case.hyper["num_iterations"] or None,
        max_pairs=None if most == -1 else most,
    )
    positive = int(made.score.sum())
    rows = zip(made.pair.tolist(), made.score.tolist(), strict=True)
    return {
        "pairs": [[i, j, score] for (i, j), score in rows],
        "n_positive": positive,
        "n_negative": len(made) - positive,
        "n_self_pairs": made.of_itself,
    }


@adapter("retrieval", "efl_entailment_pairs")
def entailment(case: Case) -> dict[str, Any]:
    """`order` is that of the descriptions of one text."""
    case.hyper.only("order", "label")
    labels, classes = case.inputs.fields["labels"], case.hyper["num_labels"]
    rows = [[text, c, int(own)] for text, label in enumerate(labels) for c, own in entailment_rows(label, classes)]
    entailed = sum(row[2] for row in rows)
    return {"rows": rows, "n_entailment": entailed, "n_not_entailment": len(rows) - entailed}


@adapter("retrieval", "lm_supcon_two_views")
def lm_supcon(case: Case) -> dict[str, Tensor]:
    temperatures = {name: float(case.hyper[name]) for name in ("temperature", "base_temperature")}
    labels = torch.tensor(case.inputs.fields["labels"])
    config = option(SupCon, similarity="dot", **temperatures)  # the views are unit vectors already
    return {"loss": loss(config, embeddings(case["v1"], case["v2"], label=labels))}


@adapter("retrieval", "demo_tuning_cosine")
def demo_tuning(case: Case) -> dict[str, Any]:
    config = option(CosinePull, weight=case.hyper["lambda_cl"])
    found = loss(config, embeddings(case["v1"], case["v2"]))
    return {"loss": found, "extra.mean_cosine": found / (-2 * config.weight)}


@adapter("retrieval", "lmbff_demonstration_filter")
def demonstrations(case: Case) -> dict[str, Any]:
    kept = demonstration_filter(
        case["support"].numpy(),
        case["queries"].numpy(),
        case.inputs.fields["labels"],
        case.hyper["rate"],
        classes=case.hyper["num_labels"],
        same=case.hyper.only("mode", "train", "dev") == "train",
    )
    return {"kept": [places.tolist() for places in kept]}


@adapter("retrieval", "eacl_anchor_contrast")
def eacl(case: Case) -> dict[str, Any]:
    """Every text brings the anchor of its class as its document, and all others as its negatives."""
    label, x, anchors = torch.tensor(case.inputs.fields["labels"]), case["x"], case["anchors"]
    classes = torch.arange(len(anchors))
    others = torch.stack([classes[classes != c] for c in label])
    batch = embeddings(x, anchors[label], anchors[others], label=label)
    batch = replace(batch, positive_id=1000 + label[:, None], negative_id=1000 + others)
    config = option(
        LabelAnchors,
        temperature=float(case.hyper["temperature"]),
        angle_weight=float(case.hyper["angle_loss_weight"]),
        count_lone=True,
    )
    out = build(config)(batch, torch.arange(len(x)))
    said = {"contrastive": "contrast", "max_cosine": "anchor_cosine", "rows_without_positive": "lone"}
    parts = {f"extra.{name}": out.metrics[key] for name, key in said.items()}
    return {"loss": out.value, **parts, "extra.angle": -out.metrics["anchor_angle"]}


@adapter("retrieval", "eacl_anchor_angle")
def eacl_angle(case: Case) -> dict[str, Tensor]:
    angles, nearest = anchor_angles(case["anchors"])
    return {"loss": -angles.mean(), "max_cosine": nearest}


@adapter("retrieval", "prompt_assignment")
def prompt_assignment(case: Case) -> dict[str, Any]:
    fields, hyper = case.inputs.fields, case.hyper
    some, rows = assigned(
        fields["n_prompts"], fields["n_rows"], divisor=hyper["divisor"], hold=hyper["hold"], seed=hyper["seed"]
    )
    return {"subset": some, "prompt_of_row": rows}
