"""What a model is, for its card: kept in the run's record when the model is saved, or read of one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedkit.foreign import showing
from embedkit.model.reading.resolve import Origin, cache_folder, full_name
from embedkit.model.reading.structure import kept_length
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.lexical import LexicalEncoder
from embedkit.model.running.reranker import Reranker, Trained

logger = showing.logger(__name__)


@dataclass(frozen=True)
class ModelFacts:
    """What a model is and what it was made of.

    Attributes:
        dim: size of an embedding.
        max_length: tokens kept of a text, None without a limit.
        similarity: what embeddings are compared by.
        prompts: what is put before a query and a document; a role without a prompt is not in it.
        default_prompt: what `SentenceTransformer.encode` puts before every text; empty for nothing.
        base: id on the Hub of the model that training began with; empty where it was none of the Hub's.
        base_revision: its commit, where it is known.
        from_scratch: whether only its configuration was taken.
        code: packages besides sentence-transformers whose code it runs, e.g. embedkit's; ``model`` for its own.
        license: the licence that the base model's own card tells, as the Hub calls it; empty where it does not.
        languages: those that it tells.
        kind: ``encoder``, ``sparse`` (an encoder of weights of words), or ``reranker``, whose `similarity` is the
            activation of its score.
    """

    dim: int = 0
    max_length: int | None = None
    similarity: str = "cosine"
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    base: str = ""
    base_revision: str = ""
    from_scratch: bool = False
    code: tuple[str, ...] = ()
    license: str = ""
    languages: tuple[str, ...] = ()
    kind: str = "encoder"

    @classmethod
    def of(cls, model: Trained, base: str | None = None, *, from_scratch: bool = False) -> ModelFacts:
        """Of a model at hand; arguments as of `of_encoder`."""
        if isinstance(model, Reranker):
            return cls.of_reranker(model, base)
        return cls.of_encoder(model, base, from_scratch=from_scratch)

    @classmethod
    def of_encoder(cls, encoder: Encoder, base: str | None = None, *, from_scratch: bool = False) -> ModelFacts:
        """Of a model at hand.

        Args:
            encoder: the model.
            base: what the recipe calls the model that it began as; None where nothing is known of that.
            from_scratch: whether its weights began as random numbers.
        """
        st, origin = encoder.st, encoder.origin
        told = {} if origin is None or base is None else told_by_card(origin)
        known = base is not None and origin is not None and origin.kind != "folder"
        prompts = {role: encoder.prompt(role) for role in ("query", "document")}
        return cls(
            kind="sparse" if isinstance(encoder, LexicalEncoder) else "encoder",
            dim=encoder.dim,
            max_length=kept_length(st),
            similarity=encoder.similarity,
            prompts={role: text for role, text in prompts.items() if text},
            default_prompt=(st.prompts.get(st.default_prompt_name) or "") if st.default_prompt_name else "",
            base=full_name(str(base)) if known else "",
            base_revision=(origin.revision or "") if known and origin is not None else "",
            from_scratch=from_scratch,
            code=_code(encoder),
            license=told.get("license", ""),
            languages=tuple(told.get("languages", ())),
        )

    @classmethod
    def of_reranker(cls, reranker: Reranker, base: str | None = None) -> ModelFacts:
        """Of a reranker at hand; arguments as of `of_encoder`."""
        st, origin = reranker.st, reranker.origin
        told = {} if origin is None or base is None else told_by_card(origin)
        known = base is not None and origin is not None and origin.kind != "folder"
        return cls(
            kind="reranker",
            max_length=kept_length(st),
            similarity=type(st.activation_fn).__name__,
            base=full_name(str(base)) if known else "",
            base_revision=(origin.revision or "") if known and origin is not None else "",
            code=_code(reranker),
            license=told.get("license", ""),
            languages=tuple(told.get("languages", ())),
        )

    @classmethod
    def of_record(cls, plain: Mapping[str, Any]) -> ModelFacts:
        """As `plain` gave it; empty of a record that has none."""
        known = {key: value for key, value in plain.items() if key in cls.__dataclass_fields__}
        return cls(**known | {key: tuple(known.get(key, ())) for key in ("code", "languages")})

    def plain(self) -> dict[str, Any]:
        """As the record keeps it."""
        return asdict(self) | {"code": list(self.code), "languages": list(self.languages)}


def _code(encoder: Trained) -> tuple[str, ...]:
    packages = {type(module).__module__.partition(".")[0] for module in encoder.st} - {"sentence_transformers"}
    own = {"model"} if encoder.st.trust_remote_code else set()
    return tuple(sorted({"model" if name.startswith("transformers_modules") else name for name in packages} | own))


def told_by_card(origin: Origin) -> dict[str, Any]:
    """``license`` and ``languages`` that a model's own card tells; what it does not tell is not in it."""
    from huggingface_hub import ModelCard

    file = _card_file(origin)
    if file is None:
        return {}
    try:
        data = ModelCard(file.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except Exception as error:  # a foreign file: whatever is wrong with it, nothing is known then
        logger.info("The card of the base model could not be read: %s", error)
        return {}
    told: dict[str, Any] = {}
    if isinstance(data.license, str):
        told["license"] = data.license
    languages = [data.language] if isinstance(data.language, str) else data.language
    if isinstance(languages, list) and all(isinstance(language, str) for language in languages):
        told["languages"] = languages
    return told


def _card_file(origin: Origin) -> Path | None:
    if origin.kind != "hub":
        file = Path(origin.target) / "README.md"
        return file if file.is_file() else None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(origin.target, "README.md", revision=origin.revision, cache_dir=cache_folder()))
    except Exception as error:  # without it less is known of the base, and nothing is lost
        logger.info("The card of the base model could not be read: %s", error)
        return None
