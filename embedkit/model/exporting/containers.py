"""A BERT encoder as a GGUF file, the container of llama.cpp, by the package `gguf`.

Names of tensors and keys, and the types of numbers, are the package's; what is told here is which of them llama.cpp's
architecture `bert` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.disk import files
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import listed
from embedkit.model.exporting.targets import Target
from embedkit.model.reading.tokens import excludes_prompt

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

TYPES = {"gguf": "F32", "gguf-f16": "F16", "gguf-q8_0": "Q8_0"}
"""Target -> `gguf.GGMLQuantizationType` of its matrices."""
_FILE_TYPES = {"F32": "ALL_F32", "F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}
POOLINGS = {"mean": "MEAN", "cls": "CLS"}
"""sentence-transformers' names of poolings, and `gguf.PoolingType`."""
_WHOLE = ("position_embeddings", "token_type_embeddings")
"""Tables that llama.cpp adds as they are, and reads as float32 only."""
_UNUSED = ("pooler.",)
"""Weights that no embedding goes through."""
_CONTINUES = "##"
_BEGINS = "\u2581"
"""llama.cpp marks the first piece of a word, WordPiece the others."""
_NORMALIZER = "tokenizer.ggml.normalizer."
"""Of llama.cpp; `gguf` 0.19 has no name for these keys."""


def write_container(st: SentenceTransformer, target: Target, export: Path) -> None:
    """Write a plain model as one GGUF file: weights, vocabulary and pooling.

    It carries no prompts and no Normalize: whoever asks llama.cpp puts the prompt before the text, and names the norm.

    Args:
        st: the model, as sentence-transformers loads it, float32 on the CPU.
        target: one of `TYPES`.
        export: gets the file.

    Raises:
        RecipeError: it is no BERT with WordPiece and a mean or cls pooling.
        WriteError: the disk is full.
    """
    import gguf

    model, tokenizer = _bert(st), _wordpiece(st)
    pooling = _pooling(st)
    kind = TYPES[target.name]
    place = target.inside(export)
    with files.writing(export):
        place.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(str(place), gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.BERT])
        _write_shape(writer, model.config)
        writer.add_pooling_type(gguf.PoolingType[pooling])
        writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[kind]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _write_vocabulary(writer, tokenizer, model.config.vocab_size)
        for name, values, dtype in _tensors(model, kind):
            writer.add_tensor(name, gguf.quantize(values, dtype), raw_dtype=dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


# What llama.cpp can run ---------------------------------------------------------------------------------------


def _bert(st: SentenceTransformer) -> Any:
    """The BERT of a model whose modules llama.cpp has.

    Raises:
        RecipeError: it has others.
    """
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    first: Any = st[0]
    others = [type(m).__name__ for m in list(st)[1:] if not isinstance(m, (Pooling, Normalize))]
    if type(first) is not Transformer or others or not any(isinstance(m, Pooling) for m in st):
        named = ", ".join(type(module).__name__ for module in st)
        what = f"llama.cpp has a transformer, its pooling and a Normalize, and the model's modules are {named}"
        raise RecipeError(what, "--to", "export a model of these alone, without --dim")
    model = first.model
    if type(model).__name__ != "BertModel":
        what = f"only BertModel is written as GGUF, and this is {type(model).__name__}"
        raise RecipeError(what, "--to", "export to onnx, or convert it with llama.cpp's own script")
    config = model.config
    asked = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    for key, value in asked.items():
        found = getattr(config, key, value)
        if found != value:
            what = f"llama.cpp's bert has {key} {value}, and this model has {found}"
            raise RecipeError(what, "--to", "export to onnx")
    return model


def _pooling(st: SentenceTransformer) -> str:
    """`gguf`'s name of the model's pooling.

    Raises:
        RecipeError: llama.cpp has none such.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling

    mode = str(next(module for module in st if isinstance(module, Pooling)).pooling_mode)
    if mode not in POOLINGS:
        raise RecipeError(f"GGUF carries no pooling {mode}", "--to", f"export a model with {listed(list(POOLINGS))}")
    if excludes_prompt(st):
        what = "the model's pooling leaves the prompt out, and llama.cpp does not know where a prompt ends"
        raise RecipeError(what, "--to", "export to onnx")
    return POOLINGS[mode]


def _wordpiece(st: SentenceTransformer) -> Any:
    """The tokenizer, BERT's.

    Raises:
        RecipeError: it is another one.
    """
    first: Any = st[0]
    described = _described(first.tokenizer)
    asked = {"model": "WordPiece", "normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
    for part, kind in asked.items():
        found = (described.get(part) or {}).get("type")
        if found != kind:
            raise RecipeError(f"its tokenizer's {part} is {found}, not BERT's {kind}", "--to", "export to onnx")
    if described["model"]["continuing_subword_prefix"] != _CONTINUES:
        what = f"its WordPiece marks later pieces by {described['model']['continuing_subword_prefix']!r}"
        raise RecipeError(what, "--to", "export to onnx")
    if not described["normalizer"]["handle_chinese_chars"]:
        what = "its tokenizer leaves Chinese characters together, and llama.cpp cuts them apart"
        raise RecipeError(what, "--to", "export to onnx")
    return first.tokenizer


def _described(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return {} if backend is None else dict(json.loads(backend.to_str()))


# What is written ----------------------------------------------------------------------------------------------


def _write_shape(writer: Any, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_vocab_size(config.vocab_size)
    writer.add_token_type_count(config.type_vocab_size)


def _write_vocabulary(writer: Any, tokenizer: Any, rows: int) -> None:
    """Tokens by their number, as llama.cpp's WordPiece looks for them; table rows without a token get an unused one."""
    import gguf

    names = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, kinds = [], []
    for number in range(rows):
        name = names.get(number)
        if name is None:
            tokens.append(f"[PAD{number}]")
            kinds.append(gguf.TokenType.UNUSED)
        elif number in added:
            tokens.append(name)
            kinds.append(gguf.TokenType.CONTROL if added[number].special else gguf.TokenType.USER_DEFINED)
        else:
            tokens.append(_marked(name))
            kinds.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(tokenizer.cls_token_id)
    writer.add_eos_token_id(tokenizer.sep_token_id)
    writer.add_sep_token_id(tokenizer.sep_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.mask_token_id is not None:
        writer.add_mask_token_id(tokenizer.mask_token_id)
    normalizer = _described(tokenizer)["normalizer"]
    lower, strip = normalizer["lowercase"], normalizer["strip_accents"]
    writer.add_bool(f"{_NORMALIZER}lowercase", lower)
    writer.add_bool(f"{_NORMALIZER}strip_accents", lower if strip is None else strip)


def _marked(token: str) -> str:
    later = token.startswith(_CONTINUES) and len(token) > len(_CONTINUES)
    return token[len(_CONTINUES) :] if later else _BEGINS + token


def _tensors(model: Any, kind: str) -> Iterator[tuple[str, np.ndarray, Any]]:
    """`gguf`'s name, values and type of every weight; vectors and the tables in `_WHOLE` stay float32.

    Raises:
        RecipeError: a weight has no name there, or rows that the type cannot cut into blocks.
    """
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, model.config.num_hidden_layers)
    matrices = gguf.GGMLQuantizationType[kind]
    block, _ = gguf.GGML_QUANT_SIZES[matrices]
    for name, tensor in model.state_dict().items():
        if name.startswith(_UNUSED):
            continue
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise RecipeError(f"llama.cpp's bert has no place for its weight {name}", "--to", "export to onnx")
        values = tensor.detach().float().numpy()
        whole = values.ndim < 2 or any(part in name for part in _WHOLE)
        if not whole and values.shape[-1] % block:
            what = f"rows of {values.shape[-1]} numbers ({name}) cannot be cut into blocks of {block}"
            raise RecipeError(what, "--to", "export to gguf-f16")
        yield written, values, gguf.GGMLQuantizationType.F32 if whole else matrices
