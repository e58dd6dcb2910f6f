"""Adapters of the schema "retrieval" for word-level contrast."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.recipe.objectives.scored import Triplet
from tests.conformance.ours import embeddings, loss, option
from tests.conformance.runner import Case, adapter


def _hinge(case: Case) -> Triplet:
    hyper = case.hyper
    config: Triplet = option(
        Triplet,
        margin=hyper["margin"],
        distance="cosine",
        positive_weight=hyper["lambda_1"],
        negative_weight=hyper["lambda_2"],
    )
    return config


@adapter("retrieval", "cwm_hinge")
def hinge(case: Case) -> dict[str, Tensor]:
    """Cosines are symmetric: the context is our query. Their loss is the sum of the rows."""
    config, u, v, w = _hinge(case), case["u"], case["v"], case["w"]
    rows = torch.stack([loss(config, embeddings(u[i : i + 1], v[i : i + 1], w[i : i + 1])) for i in range(len(u))])
    return {"loss": loss(config, embeddings(u, v, w)) * len(u), "rows": rows}


@adapter("retrieval", "cwm_sgd_steps")
def steps(case: Case) -> dict[str, object]:
    """Their update is one step of gradient descent on a table for each triple."""
    config, alpha = _hinge(case), case.hyper["alpha"]
    table, active = case["table"].detach().clone().requires_grad_(), []
    optimiser = torch.optim.SGD([table], lr=alpha)
    for triple in case.inputs.fields["triples"]:
        u, v, w = (table[word][None] for word in triple)
        value = loss(config, embeddings(u, v, w))
        active.append(bool(value > 0))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return {"table": table.detach().tolist(), "active": active}
