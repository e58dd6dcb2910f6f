"""Adapters of the schema "retrieval": query-document losses, groups of [positive, negatives...] per query.

Where the reference takes plain dot products of unit vectors, so do we: the gradient with respect to the array
that was handed in then has its radial part too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.objectives.mixing import MixedNegatives as MixedObjective
from embedkit.objectives.mixing import PairDraws
from embedkit.objectives.weighting import Dynamic
from embedkit.recipe.objectives.auc import MannWhitney
from embedkit.recipe.objectives.distillation import PartialRank, SymmetricKL
from embedkit.recipe.objectives.mixing import MixedNegatives
from embedkit.recipe.objectives.penalty import CLP
from embedkit.recipe.objectives.scored import CoSENT, KLDistillation
from embedkit.recipe.objectives.spread import SpreadOut
from embedkit.recipe.objectives.st import STLoss
from embedkit.recipe.weighting import Focal, Hardness
from embedkit.types import Embeddings
from tests.conformance.compare import gradients
from tests.conformance.inputs import NotImplementedYet
from tests.conformance.ours import FOUR, embeddings, infonce, loss, matryoshka, mean, option
from tests.conformance.runner import Case, adapter


def _grouped(query: Tensor, passages: Tensor, size: int, **targets: Any) -> Embeddings:
    """Flat passages [B * size, d], each query's positive followed by its negatives."""
    if len(passages) != len(query) * size:
        raise NotImplementedYet(f"{len(passages)} passages are not {len(query)} groups of {size}")
    groups = passages.view(len(query), size, -1)
    return embeddings(query, groups[:, 0], groups[:, 1:], **targets)


def _groups(case: Case, **targets: Any) -> Embeddings:
    """Queries with flat groups of passages, or with positives and negatives apart."""
    query, size = case["q"], case.hyper["group_size"]
    if "n" not in case.inputs:
        return _grouped(query, case["p"], size, **targets)
    if case["n"].shape[1] != size - 1:
        raise NotImplementedYet(f"group_size {size} with {case['n'].shape[1]} negatives")
    return embeddings(query, case["p"], case["n"], **targets)


@adapter("retrieval", r"InfoNCE (with )?in-batch\b.*")
def in_batch(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(infonce(case.hyper["temperature"], similarity="dot"), _groups(case))}


@adapter("retrieval", r"InfoNCE over own group only.*")
def own_group(case: Case) -> dict[str, Tensor]:
    config = infonce(case.hyper["temperature"], similarity="dot", in_batch_negatives=False)
    return {"loss": loss(config, _groups(case))}


@adapter("retrieval", r"InfoNCE with cross-device negatives.*")
def cross_device(case: Case) -> dict[str, Any]:
    """The batch of all ranks; a rank's gradient is its slice. Our processes never divide it by their number."""
    world = case.hyper["world_size"]
    query, passages = case["q"], case["p"]
    if len(query) != world:
        raise NotImplementedYet(f"world_size {world} with {len(query)} ranks of queries")
    batch = _grouped(query.flatten(0, 1), passages.flatten(0, 1), case.hyper["group_size"])
    value = loss(infonce(case.hyper["temperature"], similarity="dot"), batch)
    gradient = gradients(value, {"q": query, "p": passages})
    out: dict[str, Any] = {"single_process_big_batch.loss": value}
    for name, whole in gradient.items():
        out[f"single_process_big_batch.grad_norm_{name}"] = whole.norm()
    for rank in range(world):
        out[f"per_rank.{rank}.rank"] = rank
        out[f"per_rank.{rank}.loss"] = value
        for name, whole in gradient.items():
            out[f"per_rank.{rank}.grad_norm_{name}_local"] = whole[rank].norm()
    return out


@adapter("retrieval", r"knowledge-distillation term only")
def distillation(case: Case) -> dict[str, Tensor]:
    """FlagEmbedding's kl_div is a cross-entropy: our KL divergence plus the teacher's entropy, which is constant."""
    teacher = case["t"]
    if case.hyper.only("kd_loss_type", "kl_div", "m3_kd_loss") == "m3_kd_loss":
        options = {"order": "given", "weights": "teacher", "temperature": case.hyper["temperature"]}
        return {"loss": loss(option(PartialRank, similarity="dot", **options), _groups(case, score=teacher))}
    config = option(KLDistillation, similarity="dot", temperature=case.hyper["temperature"])
    entropy = torch.distributions.Categorical(logits=teacher).entropy().mean()
    return {"loss": loss(config, _groups(case, score=teacher)) + entropy}


@adapter("retrieval", r"0\.5\*\(KL\(T\|\|S\)\+KL\(S\|\|T\)\), both softmaxed with the same tau")
def judged(case: Case) -> dict[str, Tensor]:
    """The judge's scores are the sigmoid of `s`; the first candidate is the positive."""
    case.hyper.remark("candidates")
    candidates, judge = case["c"], case["s"].sigmoid()
    config = option(SymmetricKL, similarity="dot", temperature=case.hyper["temperature"])
    return {"loss": loss(config, embeddings(case["q"], candidates[:, 0], candidates[:, 1:], score=judge))}


@adapter("retrieval", r"MRL: mean \(not sum\) over dims of in-batch InfoNCE.*")
def mrl_mean(case: Case) -> dict[str, Tensor]:
    dims = case.hyper["mrl_dims"]
    config = matryoshka(infonce(case.hyper["temperature"]), dims, [1 / len(dims)] * len(dims))
    return {"loss": loss(config, _groups(case))}


@adapter("retrieval", r"weighted sum over dims of in-batch InfoNCE.*")
def kalm(case: Case) -> dict[str, Tensor]:
    options: dict[str, Any] = {"in_batch_negatives": case.hyper.only("use_inbatch_neg", True, False)}
    if case.hyper.only("use_expanded_neg", True, False):
        options |= {"directions": ("q-d", "q-q", "d-d"), "same_side": "positives"}
    inner = infonce(case.hyper["temperature"], **options)
    config = matryoshka(inner, case.hyper["matryoshka_dims"], case.hyper["matryoshka_weights"])
    return {"loss": loss(config, _groups(case))}


@adapter("retrieval", r"focal reweighting.*")
def focal(case: Case) -> dict[str, Tensor]:
    config = infonce(case.hyper["temperature"], similarity="dot")
    weighting = option(Focal, gamma=float(case.hyper["gamma"]), detach=case.hyper["detach_weight"], normalize="count")
    return {"loss": loss(config, _groups(case), weighting)}


@adapter("retrieval", r"symmetric in-batch InfoNCE, each pair scaled by a rank-score weight")
def weighted(case: Case) -> dict[str, Tensor]:
    """Our average divides by the sum of weights; "mean" divides by the number of pairs."""
    weights = torch.tensor(case.hyper["weights"], dtype=case["q"].dtype)
    config = infonce(case.hyper["temperature"], similarity="dot", directions=("q-d", "d-q"), partition="per_direction")
    value = loss(config, embeddings(case["q"], case["p"], weight=weights))
    normalisation = case.hyper["normalisation"]
    if normalisation == "mean":
        return {"loss": value * weights.mean()}
    if "sum" not in normalisation and "weight" not in normalisation:
        raise NotImplementedYet(f"normalisation {normalisation!r}")
    return {"loss": value}


@adapter("retrieval", r"CoSENT")
def cosent(case: Case) -> dict[str, Tensor]:
    pairs = embeddings(case["a"], case["b"], score=case.hyper["labels"])
    return {"loss": loss(option(CoSENT, scale=float(case.hyper["scale"])), pairs)}


@adapter("retrieval", r"0\.9\*InfoNCE \+ 0\.1\*mean_k\(1-cos\(neg_query_k, negative_k\)\).*")
@adapter("retrieval", r"batched generalisation \(own-group negatives, no in-batch\)")
def penalised(case: Case) -> dict[str, Tensor]:
    """One query with its group in `p`, or queries with positives and negatives apart.

    The second form's penalty takes dot products of unit vectors where we and the authors' code take the cosine. The
    value is the same; the gradient differs along the vectors, and that difference is added.
    """
    query, passages, asked = case["q"], case["p"], case["nq"]
    if "n" not in case.inputs:
        if len(passages) != case.hyper["train_group_size"]:
            raise NotImplementedYet(f"{len(passages)} passages are not one group")
        positive, negative, asked = passages[:1], passages[None, 1:], asked[None]
    else:
        positive, negative = passages, case["n"]
    config = option(
        CLP,
        penalty=float(case.hyper["lambda_"]),
        temperature=float(case.hyper["temperature"]),
        similarity="dot",
        in_batch_negatives=False,
    )
    value = loss(config, embeddings(query, positive, torch.stack([negative, asked], 2).flatten(1, 2)))
    if "n" in case.inputs:
        cosine = torch.nn.functional.cosine_similarity(negative, asked, dim=2)
        value = value + config.penalty * (cosine - (negative * asked).sum(2)).mean()
    return {"loss": value}


@adapter("retrieval", r"Mann-Whitney loss.*")
def mann_whitney(case: Case) -> dict[str, Any]:
    case.hyper.only("normalisation", "sum over pairs / B (Eq. 3)")
    query, hard = case["q"], case.hyper["hard_negatives"]
    negative = case["n"] if hard else None
    config = option(MannWhitney, temperature=case.hyper["temperature"], similarity="dot", reduction="sum")
    batch, mean_config = embeddings(query, case["p"], negative), config.model_copy(update={"reduction": "mean"})
    value = loss(config, batch)
    return {"loss": value, "extra.n_neg": round(float((value / loss(mean_config, batch)).detach()))}


@adapter("retrieval", r"dynamic loss-based sample weights")
def dynamic(case: Case) -> dict[str, Tensor]:
    losses = torch.tensor(case.inputs.fields["losses"], dtype=torch.float64)
    options = {"r": float(case.hyper["r"]), "delta": float(case.hyper["delta"])}
    found = {}
    for name in ("linupper", "uniform", "quadratic", "extremes"):
        weights = Dynamic(strategy=name, **options).batch(losses, losses, torch.ones(len(losses), dtype=torch.bool))
        found[name] = weights / weights.sum()
    return found


@adapter("retrieval", r"pair-wise hard-negative mixing \(RECONSTRUCTION\).*")
def mixed_pairs(case: Case) -> dict[str, Tensor]:
    """The first two negatives are mixed, in a share that the entry gives."""
    config = option(MixedNegatives, temperature=case.hyper["temperature"], similarity="dot")
    objective, batch = build(config), embeddings(case["q"], case["p"], case["n"])
    assert isinstance(objective, MixedObjective)
    order = torch.arange(case["n"].shape[1]).expand(len(batch), 1, -1).to(batch.query)
    share = torch.full((len(batch), 1), float(case.hyper["lam"]), dtype=batch.query.dtype)
    objective.draw = lambda e: PairDraws(order, share)  # type: ignore[method-assign]
    return {"loss": mean(objective(batch, torch.arange(len(batch))))}


@adapter("retrieval", r"list-wise hard-negative mixing \(RECONSTRUCTION\): weights = softmax .* of sim/tau")
def mixed_list(case: Case) -> dict[str, Tensor]:
    case.hyper.only("weights", "softmax(sim/temperature), gradient flows through weights")
    config = option(MixedNegatives, temperature=case.hyper["temperature"], similarity="dot", mix="list")
    return {"loss": loss(config, embeddings(case["q"], case["p"], case["n"]))}


@adapter("retrieval", r"InfoNCE over negatives pooled from N ranks .* \+ beta\*CoSENT")
def conan(case: Case) -> dict[str, Tensor]:
    """Every query has the negatives of all ranks as its own, and no other query's positive."""
    query, negative = case["q"], case["n"]
    if len(negative) != case.hyper["n_gpu"]:
        raise NotImplementedYet(f"n_gpu {case.hyper['n_gpu']} with {len(negative)} ranks of negatives")
    pool = negative.flatten(0, 1)
    temperature = case.hyper["temperature"]
    retrieval = loss(
        infonce(temperature, similarity="dot", in_batch_negatives=False),
        embeddings(query, case["p"], pool.expand(len(query), *pool.shape)),
    )
    pairs = embeddings(case["a"], case["b"], score=case.hyper["labels"])
    ranking = loss(option(CoSENT, scale=1 / temperature), pairs)
    total = retrieval + case.hyper["beta"] * ranking
    return {"loss": total, "extra.retrieval": retrieval, "extra.cosent": ranking}


@adapter("retrieval", r"Inf-CL / DisCo-CLIP / CLIP value: symmetric InfoNCE")
def clip(case: Case) -> dict[str, Tensor]:
    config = infonce(
        1 / case.hyper["logit_scale"], similarity="dot", directions=("q-d", "d-q"), partition="per_direction"
    )
    return {"loss": loss(config, embeddings(case["q"], case["k"]))}


@adapter("retrieval", r"InfoNCE with false-negative masking.*")
def qwen3(case: Case) -> dict[str, Tensor]:
    masked, margin = case.hyper.only("mask_fake_negative", True, False), case.hyper["margin"]
    directions = ["q-d"]
    directions += ["q-q"] if case.hyper.only("include_qq", True, False) else []
    directions += ["d-d"] if case.hyper.only("include_dd", True, False) else []
    config = infonce(
        case.hyper["temperature"],
        similarity="dot",
        directions=tuple(directions),
        same_side="all",
        false_negative_margin=float(margin) if masked else None,
    )
    if "x" in case.inputs:
        x = case["x"]
        return {"loss": loss(config, embeddings(x[:, 0], x[:, 1], x[:, 2:]))}
    return {"loss": loss(config, embeddings(case["q"], case["p"], case["n"]))}


@adapter("retrieval", r"GTE improved contrastive loss.*")
def gte(case: Case) -> dict[str, Tensor]:
    config = infonce(1 / case.hyper["scale"], directions=FOUR)
    return {"loss": loss(config, embeddings(case["q"], case["p"]))}


@adapter("retrieval", r"LLM-R/E5-style full contrastive scores.*")
def full_contrastive(case: Case) -> dict[str, Tensor]:
    config = _full_contrastive(case.hyper["temperature"])
    return {"loss": loss(config, embeddings(case["q"], case["p"]))}


def _full_contrastive(temperature: float) -> Any:
    return infonce(
        temperature, similarity="dot", directions=FOUR, same_side="positives", positive_in_denominator="once"
    )


@adapter("retrieval", r"[\d.]+\*full-contrastive CE \+ KL\(teacher\|\|student\) over the group")
def llm_retriever(case: Case) -> dict[str, Tensor]:
    temperature, teacher = case.hyper["temperature"], case["t"]
    batch = _grouped(case["q"], case["p"], case.hyper["train_n_passages"])
    contrastive = loss(_full_contrastive(temperature), batch)
    distilled = loss(option(KLDistillation, similarity="dot", temperature=temperature), replace(batch, score=teacher))
    return {"loss": case.hyper["kd_cont_loss_weight"] * contrastive + distilled}


@adapter("retrieval", r"sentence-transformers symmetric InfoNCE.*")
def st_symmetric(case: Case) -> dict[str, Tensor]:
    config = infonce(1 / case.hyper["scale"], directions=("q-d", "d-q"), partition="per_direction")
    return {"loss": loss(config, embeddings(case["q"], case["p"]))}


@adapter("retrieval", r"NCE with hardness weighting alpha\*sg\(cos\) on own hard negatives only")
def hardness(case: Case) -> dict[str, Tensor]:
    batch = embeddings(case["q"], case["p"], case["n"])
    weighting = option(Hardness, alpha=float(case.hyper["alpha"]), on="own")
    return {"loss": loss(infonce(1 / case.hyper["scale"]), batch, weighting)}


@adapter("retrieval", r"spread-out: .*no 1/d hinge")
def spread_out_paper(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(option(SpreadOut, similarity="dot"), embeddings(case["q"], case["p"]))}


@adapter("retrieval", r"sentence-transformers GOR\b.*")
def spread_out(case: Case) -> dict[str, Tensor]:
    names = ("mean_weight", "second_moment_weight", "aggregation")
    arguments = {name: case.hyper[name] for name in names}
    config = option(STLoss, loss="GlobalOrthogonalRegularizationLoss", arguments=arguments)
    return {"loss": loss(config, embeddings(case["q"], case["p"]))}


@adapter("retrieval", r"Arctic-Embed InfoNCE with relation matrix.*")
def arctic(case: Case) -> dict[str, Tensor]:
    """Relations are explicit negatives: one example per (query, positive), its -1 documents its own negatives."""
    case.hyper.only("use_in_batch_negatives", False, default=False)
    relation = torch.tensor(case.hyper["relations"])
    query, positive = (relation == 1).nonzero(as_tuple=True)
    exists = (relation == -1)[query]
    documents = case["d"]
    batch = embeddings(
        case["q"][query], documents[positive], documents.expand(len(query), *documents.shape), exists=exists
    )
    config: Any = infonce(case.hyper["temperature"], in_batch_negatives=False)
    dim, share = case.hyper["truncated_dimension"], case.hyper["mrl_weight"]
    if dim is not None:
        config = matryoshka(config, [documents.shape[1], dim], [1 - share, share])
    return {"loss": loss(config, batch)}
