"""A tiny BERT with a real WordPiece tokenizer, built without network: what the tests train and encode with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu")
WORDS = tuple(first + second for first in SYLLABLES for second in SYLLABLES)
"""225 made-up words, each one token of the tiny vocabulary."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'-()"


def vocabulary() -> list[str]:
    """Special tokens, made-up words, and every letter both as a first and as a later piece: no text is unknown."""
    return [*SPECIAL, *WORDS, *ALPHABET, *(f"##{c}" for c in ALPHABET)]


def sentences(count: int, *, seed: int = 0, shortest: int = 2, longest: int = 12) -> list[str]:
    """`count` sentences of made-up words, the same for the same seed."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(shortest, longest))) for _ in range(count)]


def tiny_bert(
    path: str | Path,
    *,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 2,
    positions: int = 64,
    dropout: float = 0.1,
    initializer_range: float = 0.2,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Save a plain Hugging Face folder (BertModel and a fast tokenizer) and return its path.

    The weights depend on `seed` alone; drawing them leaves the global random state as it was. The initial
    spread is ten times BERT's, so that different sentences get clearly different embeddings.
    """
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    vocab = {token: i for i, token in enumerate(vocabulary())}
    tokenizer = BertTokenizer(vocab=vocab, do_lower_case=True, model_max_length=positions)
    tokenizer.save_pretrained(path)
    settings = BertConfig(
        vocab_size=len(vocab),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=initializer_range,
        **config,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(settings).save_pretrained(path)
    return path


def tiny_static(path: str | Path, *, dim: int = 12, prompts: dict[str, str] | None = None) -> Path:
    """Save a static model with the tokenizer of `tiny_bert` and return its path; its vectors are always the same."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary())}, do_lower_case=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = StaticEmbedding(tokenizer, embedding_dim=dim)
    st = SentenceTransformer(modules=[table, Normalize()], device="cpu", prompts=prompts)
    st.save(str(path), create_model_card=False)
    return Path(path)
