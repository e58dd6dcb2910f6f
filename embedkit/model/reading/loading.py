"""Loading models: looked over before, judged afterwards, without trust that nobody gave."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedkit.disk.model_files import BASE, Saved
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import listed
from embedkit.model.checking import fit, vocabulary
from embedkit.model.checking.boundary import reading
from embedkit.model.checking.folder import files_of, look_over
from embedkit.model.checking.trial import check_parts
from embedkit.model.checking.trust import own_classes
from embedkit.model.reading.resolve import Origin, cache_folder

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
    from sentence_transformers.base.model import BaseModel

    from embedkit.recipe.schema import Model


def load_st(config: Model, origin: Origin, device: torch.device) -> SentenceTransformer:
    """Load the model that a recipe names, in float32; with `from_scratch` its configuration with new weights.

    sentence-transformers imports module classes of other packages with `trust_remote_code` only. embedkit's own
    classes need no such trust here: they, and no others, are handed over.

    Raises:
        RecipeError: it is damaged, its parts do not fit each other, or it does not load.
    """
    model_kwargs: dict[str, Any] = {"dtype": torch.float32}
    if config.attention is not None:
        model_kwargs["attn_implementation"] = config.attention
    options = _options(origin, device, config.trust_remote_code, model_kwargs)
    build = _untrained if config.from_scratch else _whole
    return _checked(origin, build, options, weights=not config.from_scratch)


def load_saved(folder: str | Path, device: torch.device | str, *, trust: bool = False) -> SentenceTransformer:
    """Read a folder that `Encoder.save` wrote.

    Args:
        folder: the folder.
        device: where the model goes.
        trust: whether code in the folder may run: what the recipe said about its base.

    Raises:
        RecipeError: as `load_st`.
    """
    origin = Origin("folder", str(folder))
    return _checked(origin, _whole, _options(origin, device, trust, {}))


def load_like(st: BaseModel, folder: Path, device: torch.device | str) -> BaseModel:
    """Read a folder into which a model of the kind of `st` was written, with the trust that it has.

    Raises:
        RecipeError: as `load_st`.
    """
    from sentence_transformers import CrossEncoder, SparseEncoder

    if isinstance(st, CrossEncoder):
        return load_cross_encoder(Origin("folder", str(folder)), device, trust=st.trust_remote_code)
    if isinstance(st, SparseEncoder):
        return load_sparse(Origin("folder", str(folder)), device, trust=st.trust_remote_code)
    return load_saved(folder, device, trust=st.trust_remote_code)


def load_transformers(auto: Any, origin: Origin, *, trust: bool = False, **options: Any) -> tuple[Any, fit.Report]:
    """A model by one of transformers' auto classes, for uses other than sentence embeddings.

    Args:
        auto: e.g. `AutoModelForCausalLM`.
        origin: where it is.
        trust: whether code that comes with it may run.
        options: for its `from_pretrained`.

    Returns:
        The model and what its weights lack. Whether that matters is for the caller to judge.

    Raises:
        RecipeError: it is damaged, of other shapes than its weights, or does not load.
    """
    find = files_of(origin)
    with reading("the model", origin, find):
        look_over(find, trust=trust)
        with fit.watching() as reports:
            model = auto.from_pretrained(origin.target, trust_remote_code=trust, **_found(origin), **options)
        fit.refuse_misfits(reports)
        return model, reports[0] if reports else fit.Report(model, origin.target)


def load_tokenizer(origin: Origin, *, trust: bool = False, **options: Any) -> Any:
    """The tokenizer of a model, whole.

    Raises:
        RecipeError: there is none, or it does not load.
    """
    from transformers import AutoTokenizer

    find = files_of(origin)
    with reading("the tokenizer", origin, find):
        saved = look_over(find, trust=trust, weights=False)
        inner = {"subfolder": saved.transformer} if saved.transformer else {}
        tokenizer = AutoTokenizer.from_pretrained(
            origin.target, trust_remote_code=trust, **inner, **_found(origin), **options
        )
        vocabulary.check_tokenizer(tokenizer, find, saved)
        return tokenizer


def _found(origin: Origin) -> dict[str, Any]:
    if origin.kind == "hub":
        return {"revision": origin.revision, "cache_dir": cache_folder()}
    return {"local_files_only": True}


# sentence-transformers ----------------------------------------------------------------------------------------

Build = Callable[[Origin, dict[str, Any], Saved], "SentenceTransformer"]


def _options(origin: Origin, device: torch.device | str, trust: bool, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        "revision": origin.revision if origin.kind == "hub" else None,
        "cache_folder": cache_folder() if origin.kind == "hub" else None,
        "local_files_only": origin.kind != "hub",
        "trust_remote_code": trust,
        "device": str(device),
        "model_kwargs": model_kwargs,
    }


def _checked(origin: Origin, build: Build, options: dict[str, Any], *, weights: bool = True) -> SentenceTransformer:
    trust, find = options["trust_remote_code"], files_of(origin)
    with reading("the model", origin, find):
        saved = look_over(find, trust=trust, weights=weights)
        _refuse_other_vectors(saved)
        with fit.watching() as reports:
            st = build(origin, options, saved)
        fit.refuse_misfits(reports)
        check_parts(st, find, saved, reports)
    return st


def _refuse_other_vectors(saved: Saved) -> None:
    """Refuse what does not make one dense embedding of a text; sentence-transformers would convert it to something
    that nobody trained."""
    if saved.is_sparse:
        what = "it is a sparse encoder: its vectors are weights of the words of a vocabulary"
        cure = "`model.kind: sparse` trains it and `embedkit eval` measures it; everything else takes dense embeddings"
        raise RecipeError(what, BASE, cure)
    if saved.is_multi_vector:
        what = "it is a late-interaction model: a vector for each token, compared by MaxSim"
        cure = "`embedkit eval` measures it as a reranker behind `--first-stage`; train it with sentence-transformers"
        raise RecipeError(what, BASE, cure)


def _whole(origin: Origin, options: dict[str, Any], saved: Saved) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    classes = own_classes(saved, trust=options["trust_remote_code"])
    if saved.adapters:
        return _adapted(origin, options, saved, classes)
    if classes:
        return SentenceTransformer._load_with_module_classes(origin.target, classes, **options)
    return SentenceTransformer(origin.target, **options)


def _adapted(origin: Origin, options: dict[str, Any], saved: Saved, classes: dict[str, type]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    from embedkit.model.reading.adapted import AdaptedTransformer, load_bare

    if saved.modules:
        classes = {saved.modules[0].type: AdaptedTransformer, **classes}
        st = SentenceTransformer._load_with_module_classes(origin.target, classes, **options)
    else:
        st = load_bare(origin.target, options)
    first: Any = st[0]
    if isinstance(first, AdaptedTransformer):
        first.plain()
    return st


def _untrained(origin: Origin, options: dict[str, Any], saved: Saved) -> SentenceTransformer:
    """The plain encoder of a configuration and a tokenizer, weights drawn from the global random state.

    sentence-transformers reads encoders from folders only, so it gets one that is gone afterwards.
    """
    from sentence_transformers import SentenceTransformer
    from transformers import AutoConfig, AutoModel

    trust = options["trust_remote_code"]
    inner = {"subfolder": saved.transformer} if saved.transformer else {}
    config = AutoConfig.from_pretrained(origin.target, trust_remote_code=trust, **inner, **_found(origin))
    with tempfile.TemporaryDirectory() as folder:
        AutoModel.from_config(config, trust_remote_code=trust).save_pretrained(folder)
        load_tokenizer(origin, trust=trust).save_pretrained(folder)
        st = SentenceTransformer(folder, **{**options, "revision": None, "local_files_only": True})
    st[0].auto_model.config._name_or_path = origin.target
    return st


# Sparse encoders ----------------------------------------------------------------------------------------------


def load_sparse(
    origin: Origin, device: torch.device | str, *, trust: bool = False, attention: str | None = None
) -> SparseEncoder:
    """A sparse encoder: one that there is, or a masked language model with sentence-transformers' SpladePooling (max).

    Raises:
        RecipeError: it is damaged, does not load, lacks weights, has no masked-LM head, or makes its vectors in another
            way.
    """
    from sentence_transformers import SparseEncoder

    model_kwargs: dict[str, Any] = {"dtype": torch.float32}
    if attention is not None:
        model_kwargs["attn_implementation"] = attention
    find = files_of(origin)
    with reading("the sparse encoder", origin, find):
        saved = look_over(find, trust=trust)
        _check_lexical(saved)
        with fit.watching() as reports:
            model = SparseEncoder(origin.target, **_options(origin, device, trust, model_kwargs))
        fit.refuse_misfits(reports)
        for report in reports:
            fit.refuse_gaps(report, report.missing)
        vocabulary.check_tokenizer(model[0].tokenizer, find, saved)
        # sentence-transformers' pooling knows its width only after the first text
        model[1].embedding_dimension = int(model[0].auto_model.config.vocab_size)
        return model


def _check_lexical(saved: Saved) -> None:
    """Refuse what is no masked language model under SpladePooling."""
    kinds = [module.type.rpartition(".")[2] for module in saved.modules]
    made_for = str((saved.config.get("architectures") or [""])[0])
    if saved.is_sparse:
        if len(kinds) != 2 or not kinds[0].endswith("Transformer") or kinds[1] != "SpladePooling":
            what = f"it is a sparse encoder of another kind: its modules are {', '.join(kinds)}"
            cure = "take one of a transformer and SpladePooling; sentence-transformers trains and runs the others"
            raise RecipeError(what, BASE, cure)
    elif saved.modules or saved.is_multi_vector:
        what = f"it is a model of other embeddings: its modules are {', '.join(kinds)}"
        raise RecipeError(
            what, BASE, "take a sparse encoder, or a masked language model such as distilbert-base-uncased"
        )
    if not made_for.endswith("ForMaskedLM"):
        what = (
            f"it has no masked-LM head, which gives the words their weights: its config.json names {made_for or 'none'}"
        )
        raise RecipeError(what, BASE, "take a masked language model, e.g. distilbert-base-uncased")


# Late interaction ---------------------------------------------------------------------------------------------


def load_multi_vector(origin: Origin, device: torch.device | str, *, trust: bool = False) -> MultiVectorEncoder:
    """A late-interaction model whose weights are all there.

    Raises:
        RecipeError: it is damaged, does not load, lacks weights, or is a model of another kind: sentence-transformers
            would give that a new projection.
    """
    from sentence_transformers import MultiVectorEncoder

    find = files_of(origin)
    with reading("the late-interaction model", origin, find):
        saved = look_over(find, trust=trust)
        if not saved.is_multi_vector:
            raise RecipeError(
                "it is no late-interaction model", BASE, "take one that MultiVectorEncoder or PyLate saved"
            )
        with fit.watching() as reports:
            model = MultiVectorEncoder(origin.target, **_options(origin, device, trust, {"dtype": torch.float32}))
        fit.refuse_misfits(reports)
        for report in reports:
            fit.refuse_gaps(report, {name for name in report.missing if not name.startswith("pooler.")})
        return model


# Cross-encoders -----------------------------------------------------------------------------------------------


def load_reranker(config: Model, origin: Origin, device: torch.device) -> tuple[CrossEncoder, bool]:
    """The cross-encoder that a recipe trains: one that there is, or an encoder with a new head of one score.

    The head is drawn from the global random state. All other weights have to be there.

    Returns:
        The model, and whether its head is new.

    Raises:
        RecipeError: it is damaged, does not load, lacks weights, or has another number of labels.
    """
    from sentence_transformers import CrossEncoder

    model_kwargs: dict[str, Any] = {"dtype": torch.float32}
    if config.attention is not None:
        model_kwargs["attn_implementation"] = config.attention
    find = files_of(origin)
    with reading("the model", origin, find):
        saved = look_over(find, trust=config.trust_remote_code)
        _check_labels(saved)
        options = _options(origin, device, config.trust_remote_code, model_kwargs)
        with fit.watching() as reports:
            model = CrossEncoder(origin.target, num_labels=1, **options)
        fit.refuse_misfits(reports)
        new = [fit.new_head(report) for report in reports]
        vocabulary.check_tokenizer(model[0].tokenizer, find, saved)
    return model, any(new)


def _check_labels(saved: Saved) -> None:
    """Refuse a classifier of other things than relevance; a plain encoder's config names two labels that mean none."""
    labels, made_for = saved.config.get("id2label"), saved.config.get("architectures") or [""]
    if isinstance(labels, dict) and len(labels) > 1 and str(made_for[0]).endswith("ForSequenceClassification"):
        what = f"it has {len(labels)} labels ({listed(list(labels.values()), 3)}), and a reranker gives one score"
        raise RecipeError(what, BASE, "take a cross-encoder with one label, or a plain encoder: the head is then new")


def load_cross_encoder(origin: Origin, device: torch.device | str, *, trust: bool = False) -> CrossEncoder:
    """A cross-encoder whose weights are all there: one made of a plain encoder would score at random.

    Raises:
        RecipeError: it is damaged, does not load, or lacks weights.
    """
    from sentence_transformers import CrossEncoder

    find = files_of(origin)
    with reading("the cross-encoder", origin, find):
        look_over(find, trust=trust)
        with fit.watching() as reports:
            model = CrossEncoder(origin.target, **_options(origin, device, trust, {"dtype": torch.float32}))
        fit.refuse_misfits(reports)
        for report in reports:
            fit.refuse_gaps(report, report.missing)
        return model
