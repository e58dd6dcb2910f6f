"""Names that a recipe may use, and what they stand for.

Built-in entries are strings, so that reading a recipe imports neither torch nor a method's code. A plug-in
registers the object itself::

    @register("objective", "my_loss", config=MyConfig)
    class MyLoss(Objective): ...

and is found through a ``plugins:`` entry of the recipe or the entry-point group ``embedkit.plugins``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from embedkit.errors import RecipeError
from embedkit.foreign.quoting import did_you_mean, quoted

Kind = Literal["objective", "weighting", "head", "view", "auxiliary", "strategy"]
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A registered name: where its options (a pydantic model) and its code live, as objects or "module:name"."""

    kind: Kind
    name: str
    config: Any
    target: Any


_O = "embedkit.recipe.objectives"
_W = "embedkit.recipe.weighting"
_RC, _OC = "embedkit.recipe.objectives.candidates", "embedkit.objectives.candidates"
_A = "embedkit.recipe.auxiliary"
_V, _H = "embedkit.recipe.views", "embedkit.recipe.heads"
_M, _S = "embedkit.recipe.mining", "embedkit.mining.strategies"
_BUILT_IN: dict[Kind, dict[str, tuple[str, str]]] = {
    "objective": {
        "none": ("embedkit.recipe.objectives.wrappers:Nothing", "embedkit.objectives.wrappers:Nothing"),
        "infonce": ("embedkit.recipe.objectives.contrastive:InfoNCE", "embedkit.objectives.contrastive:InfoNCE"),
        "mixed_negatives": (
            "embedkit.recipe.objectives.mixing:MixedNegatives",
            "embedkit.objectives.mixing:MixedNegatives",
        ),
        "mochi": ("embedkit.recipe.objectives.mixing:MoCHi", "embedkit.objectives.mixing:MoCHi"),
        "clp": ("embedkit.recipe.objectives.penalty:CLP", "embedkit.objectives.penalty:CLP"),
        "mann_whitney": ("embedkit.recipe.objectives.auc:MannWhitney", "embedkit.objectives.auc:MannWhitney"),
        "cosent": ("embedkit.recipe.objectives.scored:CoSENT", "embedkit.objectives.scored:CoSENT"),
        "angle": ("embedkit.recipe.objectives.scored:AnglE", "embedkit.objectives.scored:AnglE"),
        "cosine_mse": ("embedkit.recipe.objectives.scored:CosineMSE", "embedkit.objectives.scored:CosineMSE"),
        "triplet": ("embedkit.recipe.objectives.scored:Triplet", "embedkit.objectives.scored:Triplet"),
        "margin_mse": ("embedkit.recipe.objectives.scored:MarginMSE", "embedkit.objectives.scored:MarginMSE"),
        "kl": ("embedkit.recipe.objectives.scored:KLDistillation", "embedkit.objectives.scored:KLDistillation"),
        "bce": (f"{_RC}:BCE", f"{_OC}:BCE"),
        "lce": (f"{_RC}:LCE", f"{_OC}:LCE"),
        "listnet": (f"{_RC}:ListNet", f"{_OC}:ListNet"),
        "ranknet": (f"{_RC}:RankNet", f"{_OC}:RankNet"),
        "lambda_loss": (f"{_RC}:LambdaLoss", f"{_OC}:LambdaLoss"),
        "margin_ranking": (f"{_RC}:MarginRanking", f"{_OC}:MarginRanking"),
        "score_mse": (f"{_RC}:ScoreMSE", f"{_OC}:ScoreMSE"),
        "dcd": (f"{_O}.dcd:DCD", "embedkit.objectives.dcd:DCD"),
        "focal_smoothed": (f"{_O}.edited:FocalSmoothed", "embedkit.objectives.edited:FocalSmoothed"),
        "hard_negative_nce": (f"{_O}.edited:HardNegativeNCE", "embedkit.objectives.edited:HardNegativeNCE"),
        "symmetric_kl": (
            "embedkit.recipe.objectives.distillation:SymmetricKL",
            "embedkit.objectives.distillation:SymmetricKL",
        ),
        "partial_rank": (
            "embedkit.recipe.objectives.distillation:PartialRank",
            "embedkit.objectives.distillation:PartialRank",
        ),
        "dclr": ("embedkit.recipe.objectives.dclr:DCLR", "embedkit.objectives.dclr:DCLR"),
        "debiased": ("embedkit.recipe.objectives.debiased:Debiased", "embedkit.objectives.debiased:Debiased"),
        "simlap": (f"{_O}.simlap:SimLAP", "embedkit.objectives.simlap:SimLAP"),
        "dcl": (f"{_O}.decoupled:DCL", "embedkit.objectives.decoupled:DCL"),
        "align_uniform": (f"{_O}.uniformity:AlignUniform", "embedkit.objectives.uniformity:AlignUniform"),
        "decoupled_uniformity": (
            f"{_O}.uniformity:DecoupledUniformity",
            "embedkit.objectives.uniformity:DecoupledUniformity",
        ),
        "kcl": (f"{_O}.uniformity:KCL", "embedkit.objectives.uniformity:KCL"),
        "mv_infonce": (f"{_O}.multi_view:MVInfoNCE", "embedkit.objectives.multi_view:MVInfoNCE"),
        "mv_dhel": (f"{_O}.multi_view:MVDHEL", "embedkit.objectives.multi_view:MVDHEL"),
        "cacr": (f"{_O}.cacr:CACR", "embedkit.objectives.cacr:CACR"),
        "cacr_keys": (f"{_O}.cacr:CACRKeys", "embedkit.objectives.cacr:CACRKeys"),
        "cwcl": (f"{_O}.cwcl:CWCL", "embedkit.objectives.cwcl:CWCL"),
        "groco": (f"{_O}.groco:GroCo", "embedkit.objectives.groco:GroCo"),
        "one_to_k": (f"{_O}.one_to_k:OneToK", "embedkit.objectives.one_to_k:OneToK"),
        "symile": (f"{_O}.symile:Symile", "embedkit.objectives.symile:Symile"),
        "circle": (f"{_O}.metric:Circle", "embedkit.objectives.metric:Circle"),
        "circle_batch": (f"{_O}.metric:CircleBatch", "embedkit.objectives.metric:CircleBatch"),
        "multi_similarity": (f"{_O}.metric:MultiSimilarity", "embedkit.objectives.metric:MultiSimilarity"),
        "label_contrastive": (f"{_O}.metric:LabelContrastive", "embedkit.objectives.metric:LabelContrastive"),
        "label_triplet": (f"{_O}.metric:LabelTriplet", "embedkit.objectives.metric:LabelTriplet"),
        "poly_view": (f"{_O}.multi_view:PolyView", "embedkit.objectives.multi_view:PolyView"),
        "macl": ("embedkit.recipe.objectives.macl:MACL", "embedkit.objectives.macl:MACL"),
        "supcon": ("embedkit.recipe.objectives.supcon:SupCon", "embedkit.objectives.supcon:SupCon"),
        "moco": ("embedkit.recipe.objectives.queue:MoCo", "embedkit.objectives.queue:MoCo"),
        "feature_transform": (f"{_O}.transformed:FeatureTransform", "embedkit.objectives.transformed:FeatureTransform"),
        "ascl": ("embedkit.recipe.objectives.queue:ASCL", "embedkit.objectives.queue:ASCL"),
        "sogclr": ("embedkit.recipe.objectives.sogclr:SogCLR", "embedkit.objectives.sogclr:SogCLR"),
        "spcl": ("embedkit.recipe.objectives.spcl:SPCL", "embedkit.objectives.spcl:SPCL"),
        "non_negative": (
            "embedkit.recipe.objectives.nonnegative:NonNegative",
            "embedkit.objectives.nonnegative:NonNegative",
        ),
        "conr": ("embedkit.recipe.objectives.regression:ConR", "embedkit.objectives.regression:ConR"),
        "supremix": ("embedkit.recipe.objectives.regression:SupReMix", "embedkit.objectives.regression:SupReMix"),
        "core_tuning": (
            "embedkit.recipe.objectives.long_tail:CoreTuning",
            "embedkit.objectives.core_tuning:CoreTuning",
        ),
        "gml": ("embedkit.recipe.objectives.long_tail:GML", "embedkit.objectives.gml:GML"),
        "sbcl": ("embedkit.recipe.objectives.long_tail:SBCL", "embedkit.objectives.sbcl:SBCL"),
        "swav": ("embedkit.recipe.objectives.self_distillation:SwAV", "embedkit.objectives.swav:SwAV"),
        "beclr": (f"{_O}.self_distillation:BECLR", "embedkit.objectives.beclr:BECLR"),
        "replay_supcon": ("embedkit.recipe.objectives.replay:ReplaySupCon", "embedkit.objectives.replay:ReplaySupCon"),
        "keep_start": ("embedkit.recipe.objectives.keep_start:KeepStart", "embedkit.objectives.keep_start:KeepStart"),
        "byol": ("embedkit.recipe.objectives.self_distillation:BYOL", "embedkit.objectives.byol:BYOL"),
        "sepclr": ("embedkit.recipe.objectives.sepclr:SepCLR", "embedkit.objectives.sepclr:SepCLR"),
        "storm": ("embedkit.recipe.objectives.storm:STORM", "embedkit.objectives.storm:STORM"),
        "vicreg": ("embedkit.recipe.objectives.decorrelation:VICReg", "embedkit.objectives.decorrelation:VICReg"),
        "barlow_twins": (
            "embedkit.recipe.objectives.decorrelation:BarlowTwins",
            "embedkit.objectives.decorrelation:BarlowTwins",
        ),
        "w_mse": ("embedkit.recipe.objectives.decorrelation:WMSE", "embedkit.objectives.decorrelation:WMSE"),
        "rank": ("embedkit.recipe.objectives.spectrum:Rank", "embedkit.objectives.spectrum:Rank"),
        "flops": ("embedkit.recipe.objectives.flops:Flops", "embedkit.objectives.flops:Flops"),
        "spread_out": ("embedkit.recipe.objectives.spread:SpreadOut", "embedkit.objectives.spread:SpreadOut"),
        "cosine_pull": (f"{_O}.pull:CosinePull", "embedkit.objectives.pull:CosinePull"),
        "label_anchors": (f"{_O}.anchors:LabelAnchors", "embedkit.objectives.anchors:LabelAnchors"),
        "energy_hinge": ("embedkit.recipe.objectives.hinge:EnergyHinge", "embedkit.objectives.hinge:EnergyHinge"),
        "contrastive_tension": (
            "embedkit.recipe.objectives.scored:ContrastiveTension",
            "embedkit.objectives.scored:ContrastiveTension",
        ),
        "st": ("embedkit.recipe.objectives.st:STLoss", "embedkit.objectives.st:STObjective"),
        "matryoshka": ("embedkit.recipe.objectives.wrappers:Matryoshka", "embedkit.objectives.wrappers:Matryoshka"),
        "sum": ("embedkit.recipe.objectives.wrappers:Sum", "embedkit.objectives.wrappers:WeightedSum"),
        "guide_pair": ("embedkit.recipe.objectives.guided:GuidePair", "embedkit.objectives.guided:GuidePair"),
        "mean_shift": (
            "embedkit.recipe.objectives.shifting:MeanShift",
            "embedkit.objectives.shifting:MeanShift",
        ),
        "view_pairs": ("embedkit.recipe.objectives.wrappers:ViewPairs", "embedkit.objectives.wrappers:ViewPairs"),
    },
    "weighting": {
        "focal": (f"{_W}:Focal", "embedkit.objectives.weighting:Focal"),
        "dynamic": (f"{_W}:Dynamic", "embedkit.objectives.weighting:Dynamic"),
        "hardness": (f"{_W}:Hardness", "embedkit.objectives.weighting:Hardness"),
    },
    "head": {
        "batch_norm_projector": (f"{_H}:BatchNormProjector", "embedkit.objectives.heads:BatchNormProjector"),
        "shuffled_group_whitening": (
            f"{_H}:ShuffledGroupWhitening",
            "embedkit.objectives.heads:ShuffledGroupWhitening",
        ),
        "mlp": (f"{_H}:MLP", "embedkit.objectives.heads:MLP"),
    },
    "view": {
        "delete_words": (f"{_V}:DeleteWords", "embedkit.data.augment_text:DeleteWords"),
        "delete_span": (f"{_V}:DeleteSpan", "embedkit.data.augment_text:DeleteSpan"),
        "reorder_words": (f"{_V}:ReorderWords", "embedkit.data.augment_text:ReorderWords"),
        "substitute_words": (f"{_V}:SubstituteWords", "embedkit.data.augment_text:SubstituteWords"),
        "repeat_words": (f"{_V}:RepeatWords", "embedkit.data.augment_text:RepeatWords"),
        "template": (f"{_V}:Template", "embedkit.data.templates:Template"),
        "feature_cutoff": (f"{_V}:FeatureCutoff", "embedkit.data.augment:FeatureCutoff"),
        "token_cutoff": (f"{_V}:TokenCutoff", "embedkit.data.augment:TokenCutoff"),
        "element_dropout": (f"{_V}:ElementDropout", "embedkit.data.augment:ElementDropout"),
        "shuffle": (f"{_V}:Shuffle", "embedkit.data.augment:Shuffle"),
        "dropout": (f"{_V}:Dropout", "embedkit.data.augment:Dropout"),
    },
    "auxiliary": {
        "mlm": (f"{_A}:MaskedLM", "embedkit.auxiliary.mlm:MaskedLM"),
        "mntp": (f"{_A}:MaskedNextToken", "embedkit.auxiliary.mntp:MaskedNextToken"),
        "replaced_tokens": (f"{_A}:ReplacedTokens", "embedkit.auxiliary.replaced_tokens:ReplacedTokens"),
        "grace": (f"{_A}:Grace", "embedkit.auxiliary.grace:Grace"),
        "tsdae": (f"{_A}:Denoising", "embedkit.auxiliary.denoising:Denoising"),
    },
    "strategy": {
        "static": (f"{_M}:Static", f"{_S}.static:Static"),
        "ance": (f"{_M}:Ance", f"{_S}.ance:Ance"),
        "conan": (f"{_M}:Conan", f"{_S}.conan:Conan"),
        "curriculum": (f"{_M}:Curriculum", f"{_S}.curriculum:Curriculum"),
    },
}
_PLUGINS: dict[tuple[Kind, str], Entry] = {}


def register(kind: Kind, name: str, *, config: Any) -> Callable[[T], T]:
    """Class decorator: make `name` usable in recipes.

    Args:
        kind: ``"objective"``, ``"weighting"``, ``"head"`` (batch heads), ``"view"`` (transforms), ``"auxiliary"`` or
            ``"strategy"`` (of mining).
        name: what the recipe's ``name:`` says.
        config: the pydantic model of its options; the class is built with those fields as keyword arguments.

    Raises:
        RecipeError: when the name is taken.

    Example:
        >>> from typing import Literal
        >>> import torch
        >>> from embedkit import Objective, load_recipe, train
        >>> from embedkit.recipe.objectives.base import ObjectiveConfig
        >>> from embedkit.types import LossOut
        >>> class NearOptions(ObjectiveConfig):
        ...     name: Literal["near"] = "near"
        ...     margin: float = 0.1
        >>> @register("objective", "near", config=NearOptions)
        ... class Near(Objective):
        ...     def __init__(self, margin: float) -> None:
        ...         super().__init__()
        ...         self.margin = margin
        ...
        ...     def forward(self, e, rows):
        ...         cosine = torch.cosine_similarity(e.query[rows], e.positive[rows, 0])
        ...         return LossOut((1 - cosine - self.margin).relu(), torch.ones(len(rows)))
        >>> recipe = load_recipe("mine.yaml", ["objective={name: near, margin: 0.2}"])
        >>> train(recipe, "runs/near", say=lambda line: None, progress=False).updates
        2
    """

    def add(target: T) -> T:
        if name in _BUILT_IN[kind] or (kind, name) in _PLUGINS:
            raise RecipeError(f"{kind} {name!r} is registered already", cure="choose another name")
        _PLUGINS[kind, name] = Entry(kind, name, config, target)
        return target

    return add


def names(kind: Kind) -> list[str]:
    """All names of a kind, built-in first."""
    return [*_BUILT_IN[kind], *(n for k, n in _PLUGINS if k == kind)]


def lookup(kind: Kind, name: str) -> Entry:
    """The entry called `name`; installed plug-ins are imported only for a name that is not known yet.

    Raises:
        RecipeError: unknown name; the message gives the nearest one.
    """
    if name not in _BUILT_IN[kind] and (kind, name) not in _PLUGINS:
        _import_installed_plugins()
    if (kind, name) in _PLUGINS:
        return _PLUGINS[kind, name]
    if name not in _BUILT_IN[kind]:
        hint = did_you_mean(name, names(kind))
        raise RecipeError(f"unknown {kind} {quoted(name)}", cure=f"{hint}known: {', '.join(names(kind))}")
    config, target = _BUILT_IN[kind][name]
    return Entry(kind, name, config, target)


@functools.cache
def _import_installed_plugins() -> None:
    for point in importlib.metadata.entry_points(group="embedkit.plugins"):
        try:
            point.load()
        except Exception as error:
            what = f"importing the plug-in {point.value!r} failed: {type(error).__name__}: {error}"
            raise RecipeError(what, f"entry point {point.name}", "repair or uninstall its package") from error


def resolve(reference: Any) -> Any:
    """The object behind a "module:name" string; anything else is returned as it is."""
    if not isinstance(reference, str):
        return reference
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
