"""Adapters of objectives among views: decoupled softmaxes, uniformity, several views."""

from __future__ import annotations

from torch import Tensor

from embedkit.recipe.objectives.decoupled import DCL
from embedkit.recipe.objectives.multi_view import MVDHEL, MVInfoNCE, PolyView
from embedkit.recipe.objectives.uniformity import KCL, AlignUniform, DecoupledUniformity
from embedkit.types import Embeddings
from tests.conformance.ours import embeddings, loss, option
from tests.conformance.runner import Case, adapter


def views(case: Case) -> Embeddings:
    """V [K, N, d] as a query and its positives."""
    stacked = case["V"].transpose(0, 1)
    return embeddings(stacked[:, 0], stacked[:, 1:])


@adapter("objectives", "dclw", "dclw_graddetach_no")
def dclw(case: Case) -> dict[str, Tensor]:
    options = {name: float(case.hyper[name]) for name in ("temperature", "sigma")}
    config = option(DCL, detach_weights=case.hyper["weight_detached"], **options)
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "align")
def align(case: Case) -> dict[str, Tensor]:
    config = option(AlignUniform, alpha=float(case.hyper["alpha"]), uniform_weight=0.0)
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "uniform")
def uniform(case: Case) -> dict[str, Tensor]:
    case.inputs.fields.remark("B")
    config = option(AlignUniform, t=float(case.hyper["t"]), align_weight=0.0, of="query")
    return {"loss": loss(config, embeddings(case["A"], case["A"][:, None, :][:, :0]))}


@adapter("objectives", "align_uniform_total")
def align_uniform(case: Case) -> dict[str, Tensor]:
    names = {"align_w": "align_weight", "unif_w": "uniform_weight", "alpha": "alpha", "t": "t"}
    config = option(AlignUniform, **{ours: float(case.hyper[theirs]) for theirs, ours in names.items()})
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "decoupled_uniformity")
def decoupled_uniformity(case: Case) -> dict[str, Tensor]:
    """A ridge of 0 means 1 / sqrt(N); the prior is the guide's vectors of the queries."""
    kernel = case.hyper["kernel"]
    options = {"t": float(case.hyper["t"]), "ridge": float(case.hyper["lambda_"]) or None, "kernel": kernel or "none"}
    if kernel == "rbf":
        options["sigma"] = float(case.hyper["sigma"])
    batch = views(case)
    guide = embeddings(case["prior"], case["prior"])
    batch = embeddings(batch.query, batch.positive, guide=guide)
    return {"loss": loss(option(DecoupledUniformity, **options), batch)}


@adapter("objectives", "kcl_gaussian")
def kcl(case: Case) -> dict[str, Tensor]:
    config = option(KCL, t=float(case.hyper["t"]), gamma=float(case.hyper["gamma"]))
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "dhel")
def dhel(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(option(MVDHEL, temperature=float(case.hyper["tau"])), embeddings(case["A"], case["B"]))}


@adapter("objectives", "mv_dhel")
def mv_dhel(case: Case) -> dict[str, Tensor]:
    case.hyper.remark("variant")
    return {"loss": loss(option(MVDHEL, temperature=float(case.hyper["tau"])), views(case))}


@adapter("objectives", "mv_infonce", "mv_infonce_readme")
def mv_infonce(case: Case) -> dict[str, Tensor]:
    """As coded, and as the README has it: across views only."""
    case.hyper.remark("variant")
    denominator = "cross" if case.entry.name == "mv_infonce_readme" else "all"
    config = option(MVInfoNCE, temperature=float(case.hyper["tau"]), denominator=denominator)
    return {"loss": loss(config, views(case))}


@adapter("objectives", "pvc_geometric")
def poly_view(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(option(PolyView, temperature=float(case.hyper["tau"])), views(case))}
