"""`encode`: a file of texts to files of vectors, in a folder that can be added to until it is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.data.column import TextColumn
from embedkit.disk import files
from embedkit.disk.locks import hold_folder
from embedkit.errors import DataError, EmbedkitError, RecipeError, about
from embedkit.foreign.quoting import listed
from embedkit.run.environment import quiet_libraries
from embedkit.run.state import Say
from embedkit.spread.engines import pool_of
from embedkit.spread.pool import Pool
from embedkit.terminal import output
from embedkit.terminal.progress import progress as bar
from embedkit.vectors import concatenated
from embedkit.vectors import folder as folders
from embedkit.vectors.concatenated import Concatenated
from embedkit.vectors.encoding import vectors_of
from embedkit.vectors.keys import first_of_each, keys_of_ids
from embedkit.vectors.remaking import remade
from embedkit.vectors.shards import write_array
from embedkit.vectors.space import Dtype, Embedder
from embedkit.vectors.store import RAM_GB, VectorStore

if TYPE_CHECKING:
    from embedkit.evaluation.forecast import Text
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model

WORK = f"{files.OURS}-vectors"
"""Below the folder: what is encoded and not in a file of its own yet; removed at the end."""


@dataclass(frozen=True)
class Settings:
    """How texts are encoded.

    Attributes:
        role: ``query`` or ``document``; picks the prompt.
        max_length: tokens kept; None keeps the model's setting.
        dim: leading dimensions kept; None: all.
        dtype: of the files.
        normalize: scale to length 1.
        batch_tokens: tokens per batch, padding included.
    """

    role: str = "document"
    max_length: int | None = None
    dim: int | None = None
    dtype: Dtype = "float32"
    normalize: bool = False
    batch_tokens: int = 8192


def encode(
    model: str,
    texts: TextColumn,
    out: Path,
    settings: Settings,
    *,
    shards: int = 1,
    ram_gb: float = RAM_GB,
    device: str = "auto",
    engine: str = "local",
    say: Say = output.say,
    progress: bool = True,
) -> None:
    """Encode texts into ``vectors-00000-of-N.npy`` below `out`, in their order, with ``encode.json`` beside them.

    Called again with the same texts and model it does what is missing: whole files stay, and of an unfinished one
    what was encoded is kept. While it is at work, `out` takes up to twice the size of the vectors.

    Args:
        model: folder or Hub id, or several of them as `embedkit.vectors.concatenated` names them.
        texts: what to encode.
        out: the folder; empty, new, or of the same encoding.
        settings: how.
        shards: files.
        ram_gb: memory for vectors, in GiB.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: ``ray`` encodes on a Ray cluster, whose machines all see `out`.
        say: receives the forecast and the result.
        progress: show bars.

    Raises:
        RecipeError: the model is not found, or cannot do what `settings` ask for; more shards than texts.
        DataError: ids repeat.
        EmbedkitError: something else is in the folder; a vector that is not finite.
        BusyError: another process is encoding into it.
        WriteError: it cannot be written.
    """
    quiet_libraries()
    if shards > len(texts):
        raise RecipeError(f"{shards} shards of {len(texts)} texts", "--shards", f"at most {len(texts)}")
    _refuse_repeated_ids(texts)
    with hold_folder(out, "encoding"), pool_of(engine) as pool:
        _refuse_filled(out)
        files.sweep(out)
        encoder = _load(model, settings, device)
        with about("--dim", "dim"):
            embedder = _remade(Embedder.of(encoder, **asdict(settings)), model, device, settings)
        identity = _identity(embedder, texts, shards)
        _refuse_other(out, identity)
        wanted = [
            (out / name, rows)
            for name, rows in zip(folders.names(shards), folders.rows(len(texts), shards), strict=True)
            if not folders.is_whole(out / name, (len(rows), embedder.space.dim), settings.dtype)
        ]
        record = {**identity, "model_name": model, "role": settings.role, "files": folders.names(shards)}
        _describe(out, texts, {**record, "whole": not wanted})
        if wanted:
            if pool is not None:
                say(pool.words)
            _encode(out, texts, embedder, wanted, ram_gb, pool, say, progress)
            folders.write_record(out, {**record, "whole": True})
        shutil.rmtree(out / WORK, ignore_errors=True)
    skipped = texts.bad.counts.total()
    left = f"; {skipped:,} bad rows left out, {folders.LINES} has the line of every vector" if skipped else ""
    done = "->" if wanted else "were whole already:"
    say(f"{len(texts):,} vectors of {embedder.space.dim} dimensions, {settings.dtype} {done} {out}{left}")


def _encode(
    out: Path,
    texts: TextColumn,
    embedder: Embedder,
    wanted: Sequence[tuple[Path, range]],
    ram_gb: float,
    pool: Pool | None,
    say: Say,
    progress: bool,
) -> None:
    """The files that are not whole."""
    store = VectorStore(out / WORK, ram_gb=ram_gb)
    shelf = store.of(embedder.space)
    count = sum(len(rows) for _, rows in wanted)
    _forecast(texts, embedder, min(count, len(texts) - len(shelf)), say)
    with bar("encoding", count, "texts", show=progress) as shown:
        for path, rows in wanted:
            view = vectors_of(texts, embedder, store, pool=pool, rows=rows, bar=shown)
            folders.write_vectors(path, view, embedder.space.dtype)


def _refuse_filled(out: Path) -> None:
    if folders.read_record(out) is None and not files.is_empty(out):
        raise EmbedkitError("exists and holds something else", str(out), "choose another --out, or empty it")


def _load(model: str, settings: Settings, device: str) -> Encoder | Concatenated:
    from embedkit.model.reading.structure import check_length

    with about("MODEL", "model.base"), about("--device", "train.device"):
        encoder = concatenated.load(_named(model), device=device)
    concatenated.refuse_cut(encoder, settings.dim, "--dim")
    for one in encoder.encoders if isinstance(encoder, Concatenated) else [encoder]:
        check_length(one.st, settings.max_length, "--max-length")
    return encoder


def _named(model: str) -> Model:
    from embedkit.recipe.load import made
    from embedkit.recipe.schema import Model

    return made(Model, base=model)


def _remade(embedder: Embedder, model: str, device: str, settings: Settings) -> Embedder:
    return remade(embedder, _named(model), device=device, **asdict(settings))


def _identity(embedder: Embedder, texts: TextColumn, shards: int) -> dict[str, Any]:
    """What makes two encodings the same; names and paths do not."""
    space = {("fingerprint" if key == "model" else key): value for key, value in embedder.space.plain().items()}
    parts = {"texts": texts.digest, "count": len(texts), "shards": shards, "ids": texts.id_column}
    return {**space, **parts}


def _refuse_other(out: Path, identity: dict[str, Any]) -> None:
    found = folders.read_record(out)
    other = [] if found is None else [key for key, value in identity.items() if found.get(key) != value]
    if other:
        names = ["model" if key == "fingerprint" else key for key in other]
        what = f"holds another encoding: {listed(names)} {'is' if len(names) == 1 else 'are'} not the same"
        raise EmbedkitError(what, str(out), "choose another --out, or remove the folder")


def _describe(out: Path, texts: TextColumn, record: dict[str, Any]) -> None:
    """The record, and the line or the id of every vector."""
    folders.write_record(out, record)
    with files.new_file(out / folders.LINES) as file:
        write_array(file, texts.lines)
    if texts.id_column is not None:
        with files.new_file(out / folders.IDS) as file:
            for identity in texts.ids():
                file.write(json.dumps(identity, ensure_ascii=False).encode("utf-8") + b"\n")


def _refuse_repeated_ids(texts: TextColumn) -> None:
    again = np.flatnonzero(~first_of_each(keys_of_ids(texts.ids())))
    if len(again):
        what = f"the {texts.id_column} of an earlier row comes again"
        where = f"{texts.path}:{texts.lines[again[0]]}"
        raise DataError(what, where, "give every text an id of its own, or leave --ids out")


def _forecast(texts: TextColumn, embedder: Embedder, left: int, say: Say) -> None:
    """Say how long it will take, measured on a few of the texts."""
    from embedkit.evaluation.forecast import Forecast, Text, encoding_time

    if not left:
        return
    sample = [Text(text, "", embedder.space.max_length) for text in texts.sample]
    whole = sum(t.weight for t in sample) * left / len(sample)

    def encode(some: Sequence[Text]) -> None:
        embedder.encode([t.text for t in some])

    seconds, measured = encoding_time(sample, round(whole), encode)
    say(f"forecast: {Forecast(seconds, 0.0, left, measured).words}")
