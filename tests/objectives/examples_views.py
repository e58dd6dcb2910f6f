"""Cases of the objectives among views and of decoupled softmaxes."""

from __future__ import annotations

from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, Case, batch, followed, guided, knotted, one_missing

_VIEWS: dict[str, Case] = {
    "dcl": Case(o.DCL(sigma=0.5), knotted(batch(n=6, m=1))),
    "dcl-gradient": Case(
        o.DCL(sigma=0.7, detach_weights=False, similarity="dot", temperature=2.0), batch(p=2, n=6, weight=WEIGHT[:6])
    ),
    "align_uniform": Case(o.AlignUniform(alpha=1.5, uniform_weight=0.7), knotted(batch(p=2, n=6))),
    "align_uniform-query": Case(o.AlignUniform(align_weight=0, t=3.0, of="query"), batch(p=0, n=6)),
    "decoupled_uniformity": Case(o.DecoupledUniformity(), knotted(batch(p=2, n=6))),
    "decoupled_uniformity-kernel": Case(o.DecoupledUniformity(kernel="rbf", sigma=2.0, ridge=None), guided(batch(n=6))),
    "kcl": Case(o.KCL(gamma=3.0), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "mv_infonce": Case(o.MVInfoNCE(), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "mv_infonce-cross": Case(o.MVInfoNCE(denominator="cross", temperature=0.2), knotted(batch(p=2, n=6))),
    "mv_dhel": Case(o.MVDHEL(), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "cwcl": Case(o.CWCL(temperature=0.2, reverse=0.5), guided(one_missing(batch(m=1, n=6, weight=WEIGHT[:6])))),
    "cwcl-sharpened": Case(o.CWCL(teacher_temperature=0.2, of="query"), guided(knotted(batch(n=6)))),
    "one_to_k": Case(o.OneToK(temperature=0.2), one_missing(batch(p=2, m=1, n=6, weight=WEIGHT[:6]))),
    "one_to_k-sum": Case(o.OneToK(divide=False, back_weight=3.0), knotted(batch(p=3, n=6))),
    "groco": Case(o.GroCo(top_k=4), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "groco-through": Case(o.GroCo(top_k=3, steepness=10.0, detach_others=False), batch(n=6)),
    "symile": Case(o.Symile(negatives="all", scale=5.0), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "symile-shuffled": Case(o.Symile(scale=5.0, learn_scale=True), knotted(batch(p=2, n=6))),
    "symile-unmasked": Case(o.Symile(scale=3.0, mask_duplicates=False), knotted(batch(p=3, n=6))),
    "cacr": Case(o.CACR(positive_sharpness=2.0, repulsion=0.7), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "cacr_keys": Case(o.CACRKeys(temperature=0.5), followed(knotted(batch(p=2, n=6, weight=WEIGHT[:6])))),
    "cacr_keys-euclidean": Case(o.CACRKeys(cost="euclidean", momentum=None, keys=1), batch(p=2, n=6)),
    "poly_view": Case(o.PolyView(), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
}

VIEWS = {name: case._replace(alone=False) for name, case in _VIEWS.items()} | {
    "feature_transform": Case(
        o.FeatureTransform(temperature=0.3, queue=9), followed(knotted(batch(p=2, n=6, weight=WEIGHT[:6])))
    ),
    "feature_transform-positives": Case(
        o.FeatureTransform(temperature=0.3, queue=9, negative_alpha=None, momentum=None), batch(n=6), alone=False
    ),
}


def together(*names: str) -> o.Sum:
    """A sum of these cases: one batch through every layout for all of them."""
    return o.Sum(terms=tuple(o.SumTerm(objective=VIEWS[name].config) for name in names))


_PAIRS = ("dcl-gradient", "align_uniform", "decoupled_uniformity-kernel", "kcl", "mv_infonce", "mv_dhel", "poly_view")
_MORE = ("cwcl", "one_to_k", "groco", "cacr", "cacr_keys")
TOGETHER_VIEWS = {
    "sum-pairs": Case(together(*_PAIRS, *_MORE), guided(followed(batch(n=4)))),
    "sum-fields": Case(together("symile", "symile-shuffled", "mv_infonce-cross"), batch(p=2, n=4)),
}
