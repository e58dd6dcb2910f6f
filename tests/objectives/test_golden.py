"""The authors' own numbers for the objectives here: loss and gradient norms, inputs rebuilt from their seeds.

`tests/conformance` runs every entry of the golden files; these are the ones that pin down this folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embedkit.recipe import weighting as w
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import ALL, batch
from tests.objectives.helpers import loss_of

GOLDEN = Path(__file__).parents[1] / "golden"
SPLIT: dict[str, Any] = {"directions": ("q-d", "d-q"), "partition": "per_direction"}


def entries(file: str) -> dict[str, dict[str, Any]]:
    return {e["id"]: e for e in json.loads((GOLDEN / f"{file}.json").read_text())["entries"]}


def embeddings(q: Tensor, p: Tensor, n: Tensor | None = None, **targets: Tensor) -> Embeddings:
    """A batch of distinct texts from raw arrays; p is [N, d] or [N, P, d], n the same with M."""
    p = p if p.ndim == 3 else p[:, None]
    n = q.new_zeros(len(q), 0, q.shape[1]) if n is None else n if n.ndim == 3 else n[:, None]
    template = batch(p.shape[1], n.shape[1], n=len(q), d=q.shape[1])
    return replace(template, query=q, positive=p, negative=n, **targets)


def check(got: Tensor, want: float, arrays: dict[str, Tensor], norms: dict[str, float]) -> None:
    assert float(got.detach()) == pytest.approx(want, rel=1e-9)
    for name, g in zip(arrays, torch.autograd.grad(got, list(arrays.values())), strict=True):
        assert float(g.norm()) == pytest.approx(norms[name], rel=1e-9), name


# --- retrieval.json: one generator per array; `normalize` is applied before the loss sees it ---


def retrieval_arrays(entry: dict[str, Any]) -> dict[str, Tensor]:
    def draw(spec: dict[str, Any]) -> np.ndarray:
        raw = np.random.default_rng(spec["seed"]).standard_normal(spec["shape"])
        if "compose" in spec:
            name, _, factor = spec["compose"].split()[:3]
            raw = draw(entry["inputs"][name]) + float(factor) * raw
        return raw

    return {name: torch.from_numpy(draw(s)).requires_grad_(s["grad"]) for name, s in entry["inputs"].items()}


def groups(x: dict[str, Tensor]) -> Embeddings:
    """`p` is flat: each query's positive, then its negatives."""
    p = x["p"].view(len(x["q"]), -1, x["q"].shape[1])
    return embeddings(x["q"], p[:, :1], p[:, 1:], **({"score": x["t"]} if "t" in x else {}))


def pairs(x: dict[str, Tensor]) -> Embeddings:
    return embeddings(x["q"], x["p"] if "p" in x else x["k"], x.get("n"))


def stacked(x: dict[str, Tensor]) -> Embeddings:
    return embeddings(x["x"][:, 0], x["x"][:, 1], x["x"][:, 2:])


def llmr() -> o.Sum:
    once = o.InfoNCE(temperature=0.01, directions=ALL, positive_in_denominator="once", same_side="positives")
    kl = o.KLDistillation(temperature=0.01)
    # its q-d block has the group's negatives, the other three blocks the positives only
    return o.Sum(terms=(o.SumTerm(objective=kl), o.SumTerm(weight=0.2, objective=once)))


RETRIEVAL: dict[str, tuple[o.ObjectiveConfig, Any, Sequence[w.WeightingConfig]]] = {
    "flagembedding_infonce_inbatch_0": (o.InfoNCE(temperature=0.02), groups, ()),
    "flagembedding_infonce_inbatch_2": (o.InfoNCE(temperature=0.01), groups, ()),
    "flagembedding_infonce_no_inbatch_0": (o.InfoNCE(temperature=0.02, in_batch_negatives=False), groups, ()),
    "kalm_matryoshka_0": (
        o.Matryoshka(objective=o.InfoNCE(temperature=0.01), dims=(8, 4), weights=(1.0, 0.3)),
        groups,
        (),
    ),
    "kalm_matryoshka_2": (o.InfoNCE(directions=("q-d", "q-q", "d-d"), same_side="positives"), groups, ()),
    "kalm_focal_detach_True": (o.InfoNCE(), groups, [w.Focal(gamma=0.5)]),
    "qwen3_infonce_0": (o.InfoNCE(), stacked, ()),
    "qwen3_infonce_2": (o.InfoNCE(temperature=0.02, false_negative_margin=0.1), stacked, ()),
    "qwen3_infonce_corr_1": (o.InfoNCE(temperature=0.1, false_negative_margin=0.1), pairs, ()),
    "gte_multidirection_st_0": (o.InfoNCE(temperature=0.01, directions=ALL), pairs, ()),
    "llmr_full_contrastive_0": (
        o.InfoNCE(temperature=0.01, directions=ALL, positive_in_denominator="once"),
        pairs,
        (),
    ),
    "llmr_kd_0": (llmr(), groups, ()),
    "embeddinggemma_hardness_0": (o.InfoNCE(), pairs, [w.Hardness(alpha=5.0)]),
    "st_mnrl_symmetric_0": (o.InfoNCE(**SPLIT), pairs, ()),
    "infcl_symmetric_0": (o.InfoNCE(**SPLIT), pairs, ()),
}


@pytest.mark.parametrize("name", sorted(RETRIEVAL))
def test_retrieval(name: str) -> None:
    entry, (config, arrange, weighting) = entries("retrieval")[name], RETRIEVAL[name]
    raw = retrieval_arrays(entry)
    leaves = {k: v for k, v in raw.items() if v.requires_grad}
    fed = {
        k: torch.nn.functional.normalize(v, dim=-1) if entry["inputs"][k]["normalize"] else v for k, v in raw.items()
    }
    result = entry["result"]
    check(
        loss_of(config, arrange(fed), weighting),
        result["loss"],
        leaves,
        result.get("grad_norm_raw", result["grad_norm_fed"]),
    )


# --- objectives.json: arrays drawn in order from one generator ---

OBJECTIVES: dict[str, o.ObjectiveConfig] = {
    "infonce_oneway": o.InfoNCE(),
    "infonce_symmetric": o.InfoNCE(**SPLIT),
    "infonce_hardneg": o.InfoNCE(),
    "nt_xent": o.InfoNCE(directions=ALL, partition="per_direction"),
    "dcl": o.InfoNCE(directions=ALL, partition="per_direction", positive_in_denominator="never"),
    "dcl_oneway": o.InfoNCE(directions=("q-d", "q-q"), positive_in_denominator="never"),
    "cosent": o.CoSENT(),
    "angle": o.AnglE(),
    "triplet_st": o.Triplet(),
}
CHOSEN = [e for e in entries("objectives").values() if e["objective"] in OBJECTIVES]


@pytest.mark.parametrize("entry", CHOSEN, ids=lambda e: e["id"])
def test_objectives(entry: dict[str, Any]) -> None:
    rng = np.random.default_rng(entry["inputs"]["seed"])
    arrays = {name: rng.standard_normal(shape) for name, shape in entry["inputs"]["draws"]}
    if "E" in arrays:
        arrays = {
            "A": arrays["A"],
            "B": arrays["E"] if entry["inputs"]["B"] == "E" else arrays["A"] + 0.3 * arrays["E"],
        }
    leaves = {name: torch.from_numpy(a).requires_grad_() for name, a in arrays.items()}
    config = OBJECTIVES[entry["objective"]]
    if "temperature" in entry["hyper"]:
        config = config.model_copy(update={"temperature": entry["hyper"]["temperature"]})
    labels = entry["inputs"].get("labels")
    targets = {} if labels is None else {"score": torch.tensor(labels, dtype=torch.float64)[:, None]}
    check(loss_of(config, embeddings(*leaves.values(), **targets)), entry["loss"], leaves, entry["grad_norm"])


def test_every_objective_of_the_list_has_entries() -> None:
    assert {e["objective"] for e in CHOSEN} == set(OBJECTIVES)


# --- sentence.json: a, b and, for triplets, c ---


@pytest.mark.parametrize("name", ["simcse_unsup_0", "simcse_unsup_2", "simcse_sup_0", "simcse_sup_2"])
def test_simcse(name: str) -> None:
    entry = entries("sentence")[name]
    inputs, hyper = entry["inputs"], entry["hyper"]
    rng, shape = np.random.default_rng(inputs["seed"]), (inputs["N"], inputs["D"])
    a = rng.standard_normal(shape)
    arrays = {"a": a, "b": a + inputs["noise"] * rng.standard_normal(shape)}
    if "hard_negative_weight" in hyper:
        arrays["c"] = 0.3 * a + rng.standard_normal(shape)
    assert [np.linalg.norm(x) for x in arrays.values()] == pytest.approx(inputs["input_fro"], rel=1e-12)
    leaves = {k: torch.from_numpy(x).requires_grad_() for k, x in arrays.items()}
    config = o.InfoNCE(temperature=hyper["temp"], hard_negative_weight=hyper.get("hard_negative_weight", 0.0))
    outputs = entry["outputs"]
    norms = {k: g["norm"] for k, g in outputs["grad"].items()}
    check(loss_of(config, embeddings(*leaves.values())), outputs["loss"], leaves, norms)
