"""The encoder of a run: a sentence-transformers model, its tokenizer side, and a head that lives in training only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.disk.files import writing
from embedkit.disk.model_files import prompt_for
from embedkit.errors import RecipeError, check_whole
from embedkit.foreign import showing
from embedkit.foreign.quoting import quoted
from embedkit.model.changing import adapters, lora
from embedkit.model.changing.configure import configure
from embedkit.model.changing.dropout import use_cpu_dropout
from embedkit.model.changing.heads import new_head
from embedkit.model.checking import trial
from embedkit.model.checking.trust import drop_foreign_code
from embedkit.model.reading import tokens
from embedkit.model.reading.fingerprint import fingerprint
from embedkit.model.reading.loading import load_st
from embedkit.model.reading.resolve import Origin, resolve
from embedkit.model.reading.seeding import seeded
from embedkit.model.reading.structure import check_length, longest_text, transformer
from embedkit.model.running import first_tokens, inference, packing, perturb
from embedkit.model.running.module import RATE, TOWER, EncoderModule
from embedkit.recipe.views import TOWERS, Variant
from embedkit.types import ROLES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from typing_extensions import Self

    from embedkit.recipe.schema import Model
    from embedkit.types import Row, RowBatch

logger = showing.logger(__name__)


class Encoder:
    """A model as training, evaluation and mining see it.

    Attributes:
        st: the sentence-transformers model; it alone is saved.
        module: `st` and the train-only head; owns all trainable parameters.
        origin: where the base model was found.
        variants: ways to encode rows, as `RowBatch.variant` counts them; the first is the plain one.
        mask_inputs: gives the rows' token ids in place of their own (`embedkit.auxiliary.mlm`); None: their own.
        from_scratch: whether the weights began as random numbers, of the origin's configuration.
        reads_pairs: whether a row is a text with its query (`embedkit.model.running.reranker`).

    Example:
        >>> from embedkit.recipe.schema import Model
        >>> encoder = Encoder.load(Model(base="runs/mine/model"), device="cpu")
        >>> encoder.encode(["bade fi", "golu"], role="document").shape
        (2, 32)
    """

    reads_pairs = False
    _module: type[EncoderModule] = EncoderModule

    def __init__(self, st: SentenceTransformer, head: nn.Module | None = None, origin: Origin | None = None) -> None:
        self.st, self.origin = st, origin
        self.variants: tuple[Variant, ...] = (Variant(),)
        self.mask_inputs: Callable[[RowBatch, np.ndarray], list[list[int]]] | None = None
        self.from_scratch = False
        if st.device.type == "cpu":
            use_cpu_dropout(st)
        self.module = self._module(st, head)
        self.module.packs = packing.enable(st)
        if first_tokens.pools_first(st):
            first_tokens.enable(self.module, packing.PROBE)

    @classmethod
    def load(cls, config: Model, *, device: str = "auto", seed: int = 0) -> Self:
        """Build the encoder a recipe asks for.

        Weights are float32 whatever the checkpoint holds; reduced precision is the step's business. The global
        random state is left as it was.

        Args:
            config: the recipe's `model` block.
            device: ``auto`` takes CUDA (the process's own), then MPS, then the CPU.
            seed: of a new head or adapter.

        Raises:
            RecipeError: the model is not found, or cannot be what the recipe asks for.
        """
        origin = resolve(config.base, config.revision)
        logger.info("Base model from %s", origin)
        target = pick_device(device)
        with seeded(seed if config.from_scratch else 0):  # what a checkpoint lacks (a pooler) is always equal
            st = cls._read(config, origin, target)
        configure(st, config, seed)
        if config.lora is not None and config.freeze:
            raise RecipeError(
                "LoRA freezes the whole backbone already", where="model.freeze", cure="give lora or freeze, not both"
            )
        if config.freeze:
            adapters.freeze(transformer(st, "freeze"), config.freeze)
        if config.lora is not None:
            lora.add_lora(st, config.lora, seed)
        head = None
        if config.head is not None and not config.head.keep:
            head = new_head(config.head, int(st.get_embedding_dimension() or 0), seed).to(target)
        encoder = cls(st, head, origin)
        encoder.from_scratch = config.from_scratch
        if config.towers == 2:
            encoder.module.second = encoder.module.copy()
        if config.frozen_tower is not None:
            encoder.tower(TOWERS.index(config.frozen_tower)).module.lock()
        return encoder

    @staticmethod
    def _read(config: Model, origin: Origin, device: torch.device) -> SentenceTransformer:
        return load_st(config, origin, device)

    @property
    def head(self) -> nn.Module | None:
        """The head used in training only, or None."""
        return self.module.head

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.st.device

    @property
    def dim(self) -> int:
        """Size of the saved model's embeddings (a train-only head may have another)."""
        return int(self.st.get_embedding_dimension() or 0)

    @property
    def similarity(self) -> str:
        """What the model compares embeddings by: ``cosine``, ``dot``, ``euclidean`` or ``manhattan``."""
        return str(self.st.similarity_fn_name)

    @property
    def longest(self) -> int | None:
        """Tokens of a text that the model has positions for, a template's not counted; None where there is no limit."""
        return longest_text(self.st)

    @property
    def training_dim(self) -> int:
        """Size of the embeddings that training sees, the train-only head included."""
        weights = [] if self.head is None else [p for p in self.head.parameters() if p.ndim == 2]
        return weights[-1].shape[0] if weights else self.dim

    def tokenize(self, rows: Sequence[Row]) -> tuple[list[list[int]], dict[str, list[Any]]]:
        """Token ids of rows, each with the prompt of its role, truncated, with special tokens, unpadded.

        Returns:
            Ids per row and the tokenizer's other values per row (see `embedkit.model.reading.tokens.tokenize`).
        """
        ids: list[list[int]] = [[] for _ in rows]
        features: dict[str, list[Any]] = {}
        for role in sorted({row.role for row in rows}):
            where = [i for i, row in enumerate(rows) if row.role == role]
            texts = [rows[i].text for i in where]
            place = {text: number for number, text in enumerate(dict.fromkeys(texts))}  # views of a text are equal
            some, extra = tokens.tokenize(self.st, list(place), self.prompt(role), training=True)
            found = [place[text] for text in texts]
            for i, number in zip(where, found, strict=True):
                ids[i] = some[number]
            for name, values in extra.items():
                column = features.setdefault(name, [None] * len(rows))
                for i, number in zip(where, found, strict=True):
                    column[i] = values[number]
        return ids, features

    def prompt(self, role: str) -> str:
        """The text put before inputs of a role (``query`` or ``document``).

        Raises:
            RecipeError: there is no such role.
        """
        if role not in ROLES:
            raise RecipeError(f"there is no role {quoted(role)}", "role", f"one of {', '.join(ROLES)}")
        return prompt_for(self.st.prompts, role)

    def features(self, batch: RowBatch, rows: np.ndarray) -> dict[str, Any]:
        """A micro-batch on the device: rows `rows` of `batch`, ``input_ids`` [r, t] padded or [1, t] packed.

        Raises:
            ValueError: the rows are of different variants.
        """
        chosen = rows.tolist()
        extra = {name: [values[i] for i in chosen] for name, values in batch.features.items()}
        ids = [batch.input_ids[i] for i in chosen] if self.mask_inputs is None else self.mask_inputs(batch, rows)
        features = self.module.layout(ids, extra)
        cut, order = ([values[i] for i in chosen] if values else None for values in (batch.cut, batch.order))
        perturb.place(self.st, features, [len(row) for row in ids], cut, order)
        if batch.variant is not None:
            kinds = np.unique(batch.variant[rows])
            if len(kinds) != 1:
                raise ValueError("the rows of a micro-batch run at one dropout rate and in one tower")
            variant = self.variants[kinds[0]]
            features |= {TOWER: variant.tower, RATE: variant.dropout}
        return features

    def prepare_views(self, variants: Sequence[Variant], *, cuts: bool, reorders: bool) -> int:
        """Get ready for a run whose rows are encoded in these variants.

        Args:
            variants: what `RowBatch.variant` counts.
            cuts: whether rows will have parts of the embedding layer's output zeroed.
            reorders: whether rows will have their positions permuted.

        Returns:
            Columns of the embedding layer's output; 0 where nothing is cut.

        Raises:
            RecipeError: the model cannot do it.
        """
        self.variants = tuple(variants)
        if any(v.dropout is not None for v in variants):
            backbone = transformer(self.st, "dropout in the views")
            if not adapters.dropout_places(backbone):
                raise RecipeError(
                    f"{type(backbone).__name__} has no dropout", "views.transforms", "remove `dropout` from the views"
                )
        if reorders:
            perturb.check_positions(self.st)
        return perturb.embedding_width(self.st) if cuts else 0

    def is_frozen(self, batch: RowBatch, rows: np.ndarray) -> bool:
        """Whether the rows of a micro-batch are encoded by a tower that does not train."""
        index = 0 if batch.variant is None else self.variants[batch.variant[rows[0]]].tower
        return self.tower(index).module.locked

    def tower(self, index: int) -> Encoder:
        """One of the towers as an encoder of its own; it shares the weights. Without a second tower, 0 is all."""
        if index == 0 or self.module.second is None:
            return self
        other = object.__new__(Encoder)
        other.module, other.origin, other.variants = self.module.second, self.origin, self.variants
        other.mask_inputs = None
        other.st = other.module.st
        return other

    def embed(self, features: dict[str, Any]) -> Tensor:
        """Embeddings [r, d] with graph, the train-only head included while `module.training`."""
        return self.module(features)

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
        normalize: bool = False,
    ) -> np.ndarray:
        """Embeddings for use: dropout off, train-only head dropped.

        Equal to ``st.encode(texts, prompt=<prompt of the role>)`` up to rounding, in batches of equal length.

        Args:
            texts: any number of texts, in any iterable that keeps an order (list, array, pandas.Series, generator); a
                text alone gives one row.
            role: ``query`` or ``document``; picks the prompt.
            max_length: tokens kept; None keeps the model's setting.
            batch_tokens: tokens per batch at most, padding included; four times as many where a GPU packs rows.
            progress: show a bar.
            normalize: L2-normalise, for models that do not.

        Returns:
            float32 [n, d], row i of text i in the order of iteration.

        Raises:
            RecipeError: `max_length` is beyond the model's positions, or an argument is not one of those above.
            DataError: something is no text; the message names its position.
        """
        check_length(self.st, max_length, "max_length")
        check_whole(batch_tokens, "batch_tokens", 1)
        return inference.encode(
            self.module,
            inference.as_texts(texts),
            prompt=self.prompt(role),
            max_length=max_length,
            batch_tokens=batch_tokens,
            progress=progress,
            normalize=normalize,
        )

    def trains(self) -> bool:
        """Whether training can change something that `save` writes: not so where all is frozen, or adapters sit
        where the embedding does not come from. A train-only head does not count."""
        towers = [self.st] if self.module.second is None else [self.st, self.module.second.st]
        return any(trial.trains(st) for st in towers)

    def use_sparse_token_gradients(self) -> None:
        """On the CPU, give the token table a sparse gradient; only the step engine should ask for this."""
        for module in (self.module, self.module.second):
            if module is not None and module.packs:
                packing.use_sparse_token_gradients(module.st[0].auto_model)

    def save(self, path: str | Path, *, merge: bool = True) -> None:
        """Write a plain sentence-transformers folder; the train-only head is not in it.

        Args:
            path: the folder.
            merge: add LoRA adapters into the weights, so that the folder needs neither peft nor the base model.
                False writes the adapters alone.

        A base's pointers to code of its own (``auto_map``) are kept only where the recipe trusted that code.

        Raises:
            WriteError: the folder cannot be written.
        """
        if not self.st.trust_remote_code:
            drop_foreign_code(self.st)
        with writing(Path(path)):
            if lora.has_adapters(self.st) and not merge:
                lora.save_alone(self.st, Path(path))
            else:
                self._standalone().save(str(path), create_model_card=False)

    def fingerprint(self) -> str:
        """Content hash of what `save` writes: weights and everything else that changes an embedding."""
        return fingerprint(self._standalone())

    def _standalone(self) -> SentenceTransformer:
        return lora.merged(self.st) if lora.has_adapters(self.st) else self.st

    def head_state(self) -> dict[str, Tensor]:
        """Weights of the train-only head, for a checkpoint; empty without one."""
        return {} if self.head is None else {k: v.detach().clone() for k, v in self.head.state_dict().items()}

    def load_head_state(self, state: dict[str, Tensor]) -> None:
        """Put `head_state` back."""
        if self.head is not None:
            self.head.load_state_dict(state)


def pick_device(device: str) -> torch.device:
    """``auto``: this process's CUDA device, then MPS, then the CPU."""
    if device not in ("auto", "cuda"):
        return _named_device(device)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if device == "cuda":
        raise RecipeError("no CUDA device is available", where="train.device", cure="use auto or cpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _named_device(name: str) -> torch.device:
    """The device called `name`, once something could be put there."""
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _no_device(name) from error
    if found.type == "meta":  # tensors without numbers
        raise _no_device(name)
    return found


def _no_device(name: str) -> RecipeError:
    return RecipeError(f"there is no device {name!r} here", where="train.device", cure="use auto, cpu, cuda or mps")
