"""A saved model looked over before it is loaded: what is damaged or cannot fit is said at once, with file and field.

Costs milliseconds: small files are read, weights by their headers alone. What only loading can tell is judged
afterwards (`embedkit.model.checking.fit`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedkit.disk.model_files import (
    ADAPTERS,
    BASE,
    CONFIG,
    COPY_AGAIN,
    NOT_OF_ONE,
    READ_FIRST,
    TRUST,
    Find,
    Module,
    Saved,
    damaged,
    inside,
    is_pointer,
    pointer,
    read_json,
    read_saved,
)
from embedkit.errors import RecipeError
from embedkit.model.checking.weights import OF_ADAPTERS, OF_MODEL, OF_MODULE, Weights, find_weights
from embedkit.model.reading.resolve import Origin, cache_folder

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "spiece.model", "tokenizer.model", "source.spm"),
    *("sentencepiece.bpe.model", "sentencepiece.model", "spm.model", "tiktoken.model"),
)
ABSURD = 8
"""A size of ``config.json`` this many times the largest dimension of any tensor: no architecture does that."""
_IN_TENSORS = ("hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "vocab_size")
_STORED = ("Dense", "LayerNorm", "WeightedLayerPooling", "LSTM", "CNN")
"""Modules of sentence-transformers that keep settings and weights in a folder of their own; Pooling: settings."""


def files_of(origin: Origin) -> Find:
    """The files of a model; those on the Hub are fetched into its cache when they are asked for."""
    if origin.kind != "hub":
        return inside(Path(origin.target))
    from sentence_transformers.util import load_file_path

    def find(name: str) -> Path | None:
        folder, _, file = name.rpartition("/")
        found = load_file_path(
            origin.target, file, subfolder=folder, revision=origin.revision, cache_folder=cache_folder()
        )
        return None if found is None else Path(found)

    return find


def look_over(find: Find, *, trust: bool = False, weights: bool = True) -> Saved:
    """Check the files of a model.

    Args:
        find: its files.
        trust: whether code that comes with the model may run; what it alone can judge is then left to it.
        weights: whether they are needed; a model that starts from scratch needs none.

    Returns:
        What the small files say.

    Raises:
        RecipeError: with file and field.
    """
    saved = read_saved(find)
    if not trust:
        _check_kernels(saved)
    for module in saved.modules[1:]:
        _check_module(find, module, trust=trust, weights=weights)
    if saved.modules and not _kind(saved.modules[0]).endswith("Transformer"):
        return saved
    for name in TOKENIZER_FILES:
        path = find(saved.file(name))
        if path is not None and is_pointer(path):
            raise pointer(path)
    if saved.adapters:
        _check_adapters(find, saved)
    elif weights:
        found = find_weights(find, saved.transformer, _weight_names(saved))
        _check_widths(find, saved, found)
        _check_types(saved, found)
    return saved


def _kind(module: Module) -> str:
    """The class of a module of sentence-transformers or embedkit; "" for those of other packages."""
    package, _, rest = module.type.partition(".")
    return rest.rpartition(".")[2] if package in ("sentence_transformers", "embedkit") else ""


def _weight_names(saved: Saved) -> tuple[str, ...]:
    own: Any = saved.config.get("transformers_weights")
    return (own,) if isinstance(own, str) else OF_MODEL


def _check_kernels(saved: Saved) -> None:
    """Attention from a repository of kernels is code too, and a model's settings may ask for it."""
    for name, options in saved.settings.items():
        if not isinstance(options, dict):
            continue
        kernel = options.get("attn_implementation")
        named = isinstance(kernel, str) and "/" in kernel
        if named or options.get("allow_all_kernels") or options.get("use_kernels"):
            raise RecipeError(
                f"the settings of its Transformer ask for kernels from elsewhere ({name}): foreign code",
                TRUST,
                READ_FIRST,
            )


def _check_module(find: Find, module: Module, *, trust: bool, weights: bool) -> None:
    kind = _kind(module)
    if kind not in ("Pooling", *_STORED):
        return
    path = find(module.file(CONFIG))
    if path is None:
        raise RecipeError(
            f"there is no {module.file(CONFIG)}, and {kind} cannot be built without",
            BASE,
            "give the folder that `save_pretrained` wrote, or " + COPY_AGAIN,
        )
    settings = read_json(path, dict)
    if kind == "Dense" and not trust:
        # sentence-transformers puts Tanh in the place of an activation that it may not import: another model.
        name = settings.get("activation_function", "torch.nn.Tanh")
        if not isinstance(name, str) or not name.startswith("torch."):
            raise RecipeError(
                f"{path}: activation_function {name!r:.80} is not torch's: it would run code of another package",
                TRUST,
                READ_FIRST,
            )
    if kind == "Pooling":
        # sentence-transformers would take the mean, whatever the model was trained with.
        modes = [value for key, value in settings.items() if key.startswith("pooling_mode_")]
        if modes and not any(modes) and settings.get("pooling_mode") is None:
            raise damaged(path, "none of its pooling modes is true: how the tokens become one embedding is not said")
    if kind in _STORED and weights:
        find_weights(find, module.folder, OF_MODULE)


def _check_adapters(find: Find, saved: Saved) -> None:
    find_weights(find, saved.transformer, OF_ADAPTERS)
    path = find(saved.file(ADAPTERS))
    assert path is not None, "Saved.adapters says so"
    rank = read_json(path, dict).get("r")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise damaged(path, f"r: a whole number of at least 1 is expected, found {rank!r:.80}")
    base = Path(str(read_json(path, dict)["base_model_name_or_path"]))
    if base.is_dir():
        look_over(inside(base))
    elif base.is_absolute():
        what = "the adapters need the model they were trained on: base_model_name_or_path: there is no folder"
        raise damaged(path, f"{what} {base}", "write there where it is now")


def _check_widths(find: Find, saved: Saved, weights: Weights) -> None:
    """Refuse what would ask for terabytes before anybody could compare it with the weights."""
    widest, path = weights.widest, find(saved.file(CONFIG))
    if widest is None or path is None:
        return
    for key in _IN_TENSORS:
        size = saved.config.get(key)
        if isinstance(size, int) and size > ABSURD * widest:
            what = f"{key}: {size:,}, and no tensor of {weights.files[0].name} has a dimension above {widest:,}"
            raise damaged(path, what, NOT_OF_ONE)


def _check_types(saved: Saved, weights: Weights) -> None:
    """Refuse quantised weights whose scales nobody would apply: transformers makes whole numbers floats as they are."""
    names = [name for name in weights.whole if name.endswith((".weight", ".bias"))]
    if not names:
        return
    settings = saved.config.get("quantization_config")
    if settings and _is_known(settings):
        return
    lacks = "a quantization_config that transformers does not know" if settings else "no quantization_config"
    raise RecipeError(
        f"{len(names):,} tensors of {weights.files[0]} hold whole numbers, the first {names[0]}: quantised "
        f"weights, and {CONFIG} has {lacks}",
        BASE,
        "take the model that was quantised, in float32, float16 or bfloat16",
    )


def _is_known(settings: Any) -> bool:
    """Whether transformers reads weights that were quantised so; of the others it passes over the settings."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    old = isinstance(settings, dict) and (settings.get("load_in_8bit") or settings.get("load_in_4bit"))
    return isinstance(settings, dict) and bool(old or settings.get("quant_method") in AUTO_QUANTIZATION_CONFIG_MAPPING)
