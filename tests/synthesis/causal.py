"""A tiny causal LM with random weights and a word-level tokenizer, built without network: it really generates."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import WORDS

NUMBERS = tuple(f"{n / 200:.3f}" for n in range(201))
SPECIAL = ("<pad>", "<eos>", "<unk>")
CHAT = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"
"""A chat template of words."""


def tiny_lm(path: Path, *, chat: bool = True, seed: int = 0, positions: int = 512, ends: int = 0) -> Path:
    """Save a GPT-2 of two layers whose words are the made-up ones, numbers from 0 to 1, and the line break.

    With `ends`, so many further tokens end a text, as instruction models have some: answers get short.
    """
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    more = [f"<end {n}>" for n in range(ends)]
    vocab = {token: i for i, token in enumerate((*SPECIAL, "\n", *more, *WORDS, *NUMBERS, "user", "assistant", ":"))}
    words = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=positions
    )
    if chat:
        tokenizer.chat_template = CHAT
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(path)
    config = GPT2Config(
        vocab_size=len(vocab),
        n_positions=positions,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config)
    model.generation_config.eos_token_id = [1, *(vocab[token] for token in more)]
    model.save_pretrained(path)
    return path
