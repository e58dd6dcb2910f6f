"""The reranker of a run: a sentence-transformers CrossEncoder, as training, evaluation and mining see it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.disk.files import writing
from embedkit.errors import RecipeError
from embedkit.foreign import showing
from embedkit.model.changing import adapters, question
from embedkit.model.changing.dropout import use_cpu_dropout
from embedkit.model.checking.trust import drop_foreign_code
from embedkit.model.reading import tokens
from embedkit.model.reading.fingerprint import fingerprint
from embedkit.model.reading.loading import load_reranker
from embedkit.model.reading.precision import half_where_needed
from embedkit.model.reading.probing import evaluating
from embedkit.model.reading.resolve import Origin, resolve
from embedkit.model.reading.seeding import seeded
from embedkit.model.reading.structure import check_length, longest_text, position_limit
from embedkit.model.running import first_tokens, packing, pairs
from embedkit.model.running.encoder import Encoder, pick_device
from embedkit.model.running.fused.products import fixed_weights
from embedkit.model.running.inference import CHUNK, PACKED_TOKENS, batches
from embedkit.model.running.lexical import LexicalEncoder
from embedkit.model.running.scores import check_finite
from embedkit.recipe.model import Question
from embedkit.recipe.views import Variant
from embedkit.terminal import progress as terminal

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from embedkit.recipe.schema import Model
    from embedkit.types import Row, RowBatch

logger = showing.logger(__name__)


class RerankerModule(nn.Module):
    """Everything of the reranker that has parameters: features of pairs -> scores [r, 1].

    Attributes:
        asked: whether the score is read at the answer of a causal language model.
        packs: whether `layout` packs pairs (`embedkit.model.running.pairs`) or pads them.
        narrows: see `embedkit.model.running.module.EncoderModule`.
        head, second, locked: what an encoder may have, and a reranker has not.
    """

    head: None = None
    second: None = None
    locked = False

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.st = model
        self.packs, self.asked = False, question.is_asked(model)
        self.narrows: str | None = None

    def forward(self, features: dict[str, Any]) -> Tensor:
        if self.asked:  # of all positions only the last one's logits
            features = {**features, "logits_to_keep": 1}
        whole = self.st[0].auto_model
        narrows = first_tokens.now(whole, self.narrows)
        with half_where_needed(whole), first_tokens.alone(whole, narrows, features):
            scores: Tensor = self.st(dict(features))["scores"]
        return scores

    def layout(self, input_ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Any]:
        """Tensors of some pairs for `forward`: packed where the model can, else padded to the longest."""
        if self.packs:
            return packing.pack(self.st, input_ids, extra)
        return tokens.pad(self.st, input_ids, extra, self.st.device)


class Reranker:
    """Reads a query and a document together and gives one score, the logit; higher is more relevant.

    It stands where training expects an encoder (`embedkit.model.running.encoder.Encoder`): what that calls embedding is
    the score, [r, 1].

    Attributes:
        st: the CrossEncoder that is saved.
        module: `st`; owns all trainable parameters.
        origin: where the base model was found.
        variants: ways to encode rows; there is one.
        new_head: whether the head is new, so that the scores mean nothing before training.
    """

    reads_pairs = True
    head: None = None
    mask_inputs: None = None
    from_scratch = False

    def __init__(self, st: CrossEncoder, origin: Origin | None = None, *, new_head: bool = False) -> None:
        self.st, self.origin, self.new_head = st, origin, new_head
        self.variants: tuple[Variant, ...] = (Variant(),)
        if st.device.type == "cpu":
            use_cpu_dropout(st)
        self.module = RerankerModule(st)
        self.module.packs = pairs.enable(st)
        if not self.module.asked:
            first_tokens.enable(self.module, pairs.PROBE)

    @classmethod
    def load(cls, config: Model, *, device: str = "auto", seed: int = 0) -> Reranker:
        """Build the reranker that a recipe asks for: a cross-encoder, or an encoder with a new head.

        Weights are float32 whatever the checkpoint holds. The global random state is left as it was.

        Args:
            config: the recipe's `model` block.
            device: ``auto`` takes CUDA (the process's own), then MPS, then the CPU.
            seed: of a new head.

        Raises:
            RecipeError: the model is not found, or cannot be what the recipe asks for.
        """
        origin = resolve(config.base, config.revision)
        logger.info("Base model from %s", origin)
        with seeded(seed):
            st, new = load_reranker(config, origin, pick_device(device))
        _ask(st, config)
        if config.dropout is not None:
            adapters.set_dropout(st[0].auto_model, config.dropout)
        check_length(st, config.max_length, "model.max_length")
        limit = position_limit(st)
        if config.max_length is not None:
            st.max_seq_length = config.max_length
        elif limit is not None and (st.max_seq_length is None or st.max_seq_length > limit):
            st.max_seq_length = limit
        adapters.freeze(st[0].auto_model, config.freeze)
        return cls(st, origin, new_head=new)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.st.device

    @property
    def training_dim(self) -> int:
        """Numbers that training sees of a pair."""
        return 1

    @property
    def longest(self) -> int | None:
        """Tokens of a pair that the model has positions for; None where there is no limit."""
        return longest_text(self.st)

    def tokenize(self, rows: Sequence[Row]) -> tuple[list[list[int]], dict[str, list[Any]]]:
        """Token ids of rows, query and text together, truncated (the longer one first), unpadded; see `Encoder`."""
        return tokens.tokenize(self.st, [[row.query or "", row.text] for row in rows], "", training=True)

    def features(self, batch: RowBatch, rows: np.ndarray) -> dict[str, Any]:
        """A micro-batch on the device: rows `rows` of `batch`, ``input_ids`` [r, t] padded or [1, t] packed."""
        chosen = rows.tolist()
        extra = {name: [values[i] for i in chosen] for name, values in batch.features.items()}
        return self.module.layout([batch.input_ids[i] for i in chosen], extra)

    def prepare_views(self, variants: Sequence[Variant], *, cuts: bool, reorders: bool) -> int:
        """As `Encoder.prepare_views`; a reranker has no views.

        Raises:
            RecipeError: some are asked for.
        """
        if cuts or reorders or any(variant != Variant() for variant in variants):
            raise RecipeError("a reranker has no views of a text", "views", "remove the block")
        return 0

    def is_frozen(self, batch: RowBatch, rows: np.ndarray) -> bool:
        """There is one tower, and it trains."""
        return False

    def embed(self, features: dict[str, Any]) -> Tensor:
        """Scores [r, 1] with graph."""
        return self.module(features)

    def score(
        self, texts: Sequence[tuple[str, str]], *, batch_tokens: int = 8192, progress: bool = False
    ) -> np.ndarray:
        """Scores for use, dropout off: the logits, whatever activation the model was saved with.

        Equal to ``st.predict(texts, activation_fn=torch.nn.Identity())`` up to rounding.

        Args:
            texts: pairs of query and document.
            batch_tokens: padded tokens per batch.
            progress: show a bar.

        Returns:
            float32 [n].

        Raises:
            DataError: a score is no number.
        """
        module, out = self.module, np.empty(len(texts), np.float32)
        budget = min(batch_tokens, PACKED_TOKENS) if module.packs else batch_tokens
        longest_first = np.argsort([-len(query) - len(text) for query, text in texts], kind="stable")
        shown = terminal.progress("scoring", len(texts), "pairs", show=progress)
        with shown as bar, evaluating(module), torch.inference_mode():
            for start in range(0, len(texts), CHUNK):
                chosen = longest_first[start : start + CHUNK]
                ids, extra = tokens.tokenize(self.st, [list(texts[i]) for i in chosen], "")
                cut = list(batches([len(row) for row in ids], budget))
                with fixed_weights() if len(cut) > 1 else nullcontext():
                    for rows in cut:
                        part = {name: [values[i] for i in rows] for name, values in extra.items()}
                        found = module(module.layout([ids[i] for i in rows], part))[:, 0]
                        out[chosen[rows]] = found.float().cpu().numpy()
                        bar.advance(len(rows))
        return check_finite(out, texts, "the reranker")

    def trains(self) -> bool:
        """Whether training can change something that `save` writes."""
        return any(parameter.requires_grad for parameter in self.st.parameters())

    def use_sparse_token_gradients(self) -> None:
        """On the CPU, give the token table a sparse gradient; only the step engine should ask for this."""
        if self.module.packs:
            packing.use_sparse_token_gradients(self.st[0].auto_model)

    def save(self, path: str | Path, *, merge: bool = True) -> None:
        """Write a plain folder that ``CrossEncoder(path)`` reads.

        Raises:
            WriteError: the folder cannot be written.
        """
        if not self.st.trust_remote_code:
            drop_foreign_code(self.st)
        with writing(Path(path)):
            self.st.save(str(path), create_model_card=False)

    def fingerprint(self) -> str:
        """Content hash of what `save` writes: weights and everything else that changes a score."""
        return fingerprint(self.st)


def _ask(st: CrossEncoder, config: Model) -> None:
    """Put the recipe's question; a causal model that is no reranker yet gets the default one."""
    if not question.is_asked(st):
        if config.question is not None:
            what = f"{type(st[0].auto_model).__name__} answers no question: its head gives the score"
            raise RecipeError(what, "model.question", "leave it out, or take a causal language model")
        return
    own = "message" in st[0].modality_config and "document" in str(st[0].tokenizer.chat_template)
    if config.question is not None or not own:
        question.ask(st, config.question or Question())


Trained = Encoder | Reranker
"""What a run trains; a sparse encoder (`embedkit.model.running.lexical`) is an encoder."""


def load(config: Model, *, device: str = "auto", seed: int = 0) -> Trained:
    """The encoder, dense or sparse, or the reranker that a recipe asks for; see their `load`."""
    kinds: dict[str | None, type[Encoder] | type[Reranker]] = {"reranker": Reranker, "sparse": LexicalEncoder}
    return kinds.get(config.kind, Encoder).load(config, device=device, seed=seed)
