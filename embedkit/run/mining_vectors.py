"""What gives `mine` its vectors: a model, a callable, files, or a model for the one side and a file for the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.errors import DataError, RecipeError, about
from embedkit.evaluation.forecast import Forecast, Text, encoding_time
from embedkit.mining.miner import By
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.run.mining_data import Gathered
from embedkit.vectors import concatenated
from embedkit.vectors import folder as folders
from embedkit.vectors.concatenated import Concatenated
from embedkit.vectors.given import given_embedder, given_vectors, read_ids
from embedkit.vectors.remaking import remade
from embedkit.vectors.space import Embedder, Encode
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import UnitView, View

SAMPLE = 2000
"""Texts among which those are drawn that are encoded for the forecast."""


@dataclass(frozen=True)
class Given:
    """Vectors that are there.

    Attributes:
        queries, documents: each a ``.npy`` file [n, d] or a folder of `embedkit encode`; None: a model encodes them.
        query_ids, document_ids: files of their ids; None: those of the folder, or the order of the texts.
        normalize: scale them to length 1. Beside a model, its own way to compare decides.
    """

    queries: Path | None = None
    documents: Path | None = None
    query_ids: Path | None = None
    document_ids: Path | None = None
    normalize: bool = False

    @property
    def whole(self) -> bool:
        """Whether no model is needed."""
        return self.queries is not None and self.documents is not None

    def check(self) -> None:
        """Refuse ids of nothing.

        Raises:
            RecipeError: ids without vectors.
        """
        for ids, vectors, name in (
            (self.query_ids, self.queries, "query"),
            (self.document_ids, self.documents, "corpus"),
        ):
            if ids is not None and vectors is None:
                raise RecipeError("ids of no vectors", f"--{name}-ids", f"give --{name}-vectors too")


@dataclass(frozen=True)
class Sides:
    """What gives the vectors.

    Attributes:
        by: for the miner.
        encoder: the model, where one encodes.
        name: of the model, for the record.
    """

    by: By
    encoder: Encoder | Concatenated | None = None
    name: str = ""

    @property
    def fingerprint(self) -> str:
        """Content hash of the model; empty where none was loaded."""
        return "" if self.encoder is None else self.encoder.fingerprint()


def sides(
    model: Model | Encode | None,
    given: Given,
    gathered: Gathered,
    *,
    device: str = "auto",
    max_length: int | None = None,
    batch_tokens: int = 8192,
) -> Sides:
    """What gives the vectors of queries and documents.

    Raises:
        RecipeError: neither a model nor vectors; the model is not found, or compares by a distance.
        DataError: vectors of another model, count or size; ids that repeat or have no vector.
    """
    given.check()
    problem = gathered.problem
    encoder = None
    if given.whole:
        ends: list[Embedder | View] = []
    elif model is None:
        raise RecipeError(
            "nothing gives vectors", "--model", "give --model, or both --query-vectors and --corpus-vectors"
        )
    elif isinstance(model, Model):
        encoder = _load(model, device, max_length)
        ends = _ends(encoder, _with_length(model, max_length), device, batch_tokens)
    else:
        one = given_embedder(model)
        ends = [one, one]
    scaled = given.normalize or (encoder is not None and encoder.similarity == "cosine")
    found: list[Embedder | View] = []
    for i, (vectors, ids, texts, ordered, option) in enumerate(
        (
            (given.queries, given.query_ids, problem.query_ids, gathered.ordered[0], "--query-vectors"),
            (given.documents, given.document_ids, problem.document_ids, gathered.ordered[1], "--corpus-vectors"),
        )
    ):
        if vectors is None:
            found.append(ends[i])
            continue
        view = _given(vectors, ids, texts, ordered, option)
        found.append(UnitView(view) if scaled else view)
    _same_space(given, found, encoder)
    return Sides(By(*found), encoder, model.base if encoder is not None and isinstance(model, Model) else "")


def forecast(by: By, queries: Sequence[str], documents: Sequence[str], store: VectorStore) -> Forecast | None:
    """How long encoding will take, measured on a few of the texts that have no vector yet; None if all have one."""
    sample: list[Text] = []
    whole, count = 0.0, 0
    ends = {"query": (by.query, queries), "document": (by.document, documents)}
    for role, (end, texts) in ends.items():
        if not isinstance(end, Embedder):
            continue
        missing = store.of(end.space).missing(texts).tolist()
        step = -(-len(missing) // SAMPLE) or 1
        some = [Text(texts[i], role, end.space.max_length) for i in missing[::step]]
        sample += some
        whole += sum(t.weight for t in some) * len(missing) / max(1, len(some))
        count += len(missing)
    if not count:
        return None

    def encode(some: Sequence[Text]) -> None:
        for role, (end, _) in ends.items():
            own = [t.text for t in some if t.role == role]
            if own and isinstance(end, Embedder):
                end.encode(own)

    seconds, measured = encoding_time(sample, round(whole), encode)
    return Forecast(seconds, 0.0, count, measured)


def _load(model: Model, device: str, max_length: int | None) -> Encoder | Concatenated:
    config = _with_length(model, max_length)
    with about("--model", "model.base"), about("--device", "train.device"), about("--max-length", "model.max_length"):
        return concatenated.load(config, device=device)


def _with_length(model: Model, max_length: int | None) -> Model:
    return model if max_length is None else model.model_copy(update={"max_length": max_length})


def _ends(encoder: Encoder | Concatenated, model: Model, device: str, batch_tokens: int) -> list[Embedder | View]:
    """Both sides of a model, which other processes can make, too."""
    both, normalize = By.of(encoder, batch_tokens=batch_tokens), encoder.similarity == "cosine"
    found: list[Embedder | View] = []
    for tower, (role, end) in enumerate((("query", both.query), ("document", both.document))):
        assert isinstance(end, Embedder)
        settings = {"role": role, "normalize": normalize, "batch_tokens": batch_tokens}
        found.append(remade(end, model, device=device, tower=tower, **settings))
    return found


def _given(vectors: Path, ids: Path | None, texts: Sequence[str], ordered: bool, option: str) -> View:
    """Given vectors in the order of the texts."""
    own = vectors / folders.IDS
    named: Iterable[str | int] | None = None if ids is None else read_ids(ids)
    if ids is None and vectors.is_dir() and own.is_file():
        named = read_ids(own)
    if named is not None:
        return given_vectors(vectors, ids=named, wanted=texts)
    if not ordered:
        what = "vectors without ids are in the order of the rows, and not every row is one of the texts"
        raise DataError(what, f"{option} {vectors}", f"give {option.replace('vectors', 'ids')}, and ids in the data")
    return given_vectors(vectors, count=len(texts))


def _same_space(given: Given, found: Sequence[Embedder | View], encoder: Encoder | Concatenated | None) -> None:
    """Refuse vectors that cannot be compared."""
    dims = [end.space.dim if isinstance(end, Embedder) else end.dim for end in found]
    places = [str(given.queries or "the model"), str(given.documents or "the model")]
    if dims[0] != dims[1]:
        what = f"queries have {dims[0]} dimensions ({places[0]}), documents {dims[1]} ({places[1]})"
        raise DataError(what, "vectors", "give vectors of one model")
    models: dict[str, Any] = {} if encoder is None else {encoder.fingerprint(): "the model"}
    for path in (given.queries, given.documents):
        record = folders.read_record(path) if path is not None and path.is_dir() else None
        if record is not None:
            models.setdefault(str(record.get("fingerprint")), str(path))
    if len(models) > 1:
        what = f"of another model than {next(iter(models.values()))}"
        raise DataError(what, list(models.values())[-1], "encode both with one model")
