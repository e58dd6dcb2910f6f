"""Tiny models of other families, all with the tiny tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.tiny import tiny_bert, vocabulary

SIZE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TOKENS: dict[str, int] = {"vocab_size": len(vocabulary()), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 64}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
MODERNBERT = {"max_position_embeddings": 64, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3}
QWEN2 = {"max_position_embeddings": 64, "num_key_value_heads": 1, "vocab_size": len(vocabulary()) + 1}
"""Its tokenizer brings a token of its own, for which the table needs a row."""

FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "roberta": ("RobertaConfig", "RobertaModel", {**SIZE, "max_position_embeddings": 66}),
    "distilbert": ("DistilBertConfig", "DistilBertModel", DISTILBERT),
    "mpnet": ("MPNetConfig", "MPNetModel", {**SIZE, "max_position_embeddings": 66}),
    "modernbert": ("ModernBertConfig", "ModernBertModel", {**SIZE, **MODERNBERT}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {**SIZE, **QWEN2}),
    "t5": ("T5Config", "T5EncoderModel", T5),
}

LLAMA: dict[str, Any] = {**SIZE, "max_position_embeddings": 128, "num_key_value_heads": 1}
SMALL_HEADS: dict[str, Any] = {**LLAMA, "head_dim": 16}
OPT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 48, "word_embed_proj_dim": 32}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}

DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", LLAMA),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", SMALL_HEADS),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**LLAMA, "sliding_window": 64}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", SMALL_HEADS),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**SMALL_HEADS, "sliding_window": 64}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "opt": ("OPTConfig", "OPTForCausalLM", {**OPT, "max_position_embeddings": 128}),
}
"""Causal language models."""


def build(family: str, path: Path, **more: Any) -> Path:
    """Save a tiny model of a family, its configuration changed by `more`, and return its folder."""
    import transformers

    tiny_bert(path)
    config, model, options = {**FAMILIES, **DECODERS}[family]
    options = {**options, **more}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        getattr(transformers, model)(getattr(transformers, config)(**{**TOKENS, **options})).save_pretrained(path)
    return path
