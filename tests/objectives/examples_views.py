"""Cases of the objectives among views and of decoupled softmaxes."""

from __future__ import annotations

from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, Case, batch, followed, guided, knotted

VIEWS: dict[str, Case] = {
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
    "cacr": Case(o.CACR(positive_sharpness=2.0, repulsion=0.7), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
    "cacr_keys": Case(o.CACRKeys(temperature=0.5), followed(knotted(batch(p=2, n=6, weight=WEIGHT[:6])))),
    "cacr_keys-euclidean": Case(o.CACRKeys(cost="euclidean", momentum=None, keys=1), batch(p=2, n=6)),
    "poly_view": Case(o.PolyView(), knotted(batch(p=2, n=6, weight=WEIGHT[:6]))),
}
