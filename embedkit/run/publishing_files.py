"""A model on its way out: which folder it is in, which of its files go, and whether they still are that model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.disk.folders import FORMAT, RunFolder
from embedkit.disk.model_files import ADAPTERS, CONFIG, MODULES, inside, read_saved
from embedkit.errors import EmbedkitError, about
from embedkit.foreign.quoting import listed
from embedkit.foreign.showing import as_json
from embedkit.model.running.reranker import Trained, load
from embedkit.publish import card, metadata
from embedkit.publish.bundle import Bundle, collect
from embedkit.publish.facts import ModelFacts
from embedkit.publish.probes import TEXTS, TOLERANCE, Probes, answers, distance, hashes
from embedkit.publish.records import passed_on
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model
from embedkit.types import RunRecord

AGAIN = "train again with --resume, which saves the model again from its checkpoint"


@dataclass(frozen=True)
class Source:
    """A model to publish.

    Attributes:
        model: its folder.
        run: its run, where it is of one.
        record: of the run.
        device: where it is tried.
    """

    model: Path
    run: RunFolder | None = None
    record: RunRecord | None = None
    device: str = "auto"

    @property
    def root(self) -> Path:
        """The folder that paths may be told from."""
        return self.model if self.run is None else self.run.root

    @property
    def recipe(self) -> str:
        """The run's recipe as YAML; empty where there is none."""
        return "" if self.run is None else self.run.recipe_text

    def load(self, folder: Path) -> Trained:
        """The model out of a folder that holds its files; its own code runs where the recipe trusted it."""
        recipe = {} if self.record is None else self.record.recipe.get("model", {})
        with about(str(self.model), "model.base"):
            trust = bool(recipe.get("trust_remote_code"))
            kind = read_saved(inside(folder)).kind
            return load(made(Model, kind=kind, base=str(folder), trust_remote_code=trust), device=self.device)


@dataclass(frozen=True)
class Staged:
    """What goes, in a folder of its own.

    Attributes:
        bundle: the files.
        card: the card's text.
        texts, embeddings: probes, and what the model in the folder gives for them.
        distance: of these to the recorded ones; None where none were recorded.
        remarks: what is to be known.
    """

    bundle: Bundle
    card: str
    texts: tuple[str, ...]
    embeddings: Mapping[str, np.ndarray]
    distance: float | None
    remarks: list[str] = field(default_factory=list)


def find(folder: Path, device: str) -> Source:
    """The model in a folder, and its run.

    Raises:
        EmbedkitError: there is none.
        RecordError: the run's record cannot be read.
    """
    if not folder.is_dir():
        raise EmbedkitError("there is no such folder", str(folder), "give the folder of a run, or of a model")
    run, above = RunFolder(folder), RunFolder(folder.resolve().parent)
    if run.record.is_file() or run.model.is_dir():
        if not run.model.is_dir():
            raise EmbedkitError("the run has no model yet", str(folder), "finish it: `embedkit train ... --resume`")
        return Source(run.model, run, run.read_record(), device)
    if folder.resolve() == above.model and above.record.is_file():
        return Source(folder, above, above.read_record(), device)
    if not any((folder / name).is_file() for name in (MODULES, CONFIG, ADAPTERS)):
        raise EmbedkitError("holds no model", str(folder), "give the folder of a run, or of a model")
    return Source(folder, device=device)


def stage(source: Source, to: str, folder: Path) -> Staged:
    """Put what goes into a folder, and read the model from there as everybody will.

    Raises:
        EmbedkitError: something private is in the files; they are not those that the run saved, or give other
            embeddings.
        RecipeError: the model does not load from what goes.
    """
    recorded = None if source.run is None else Probes.read(source.run.probes)
    if recorded is not None:
        _refuse_other_files(source, recorded)
    records = _records(source)
    collect(source.model, records).stage(folder)
    encoder = source.load(folder)
    facts, texts = ModelFacts.of(encoder), TEXTS if recorded is None else recorded.texts
    embeddings = answers(encoder, texts)
    far = None if recorded is None else distance(embeddings, recorded.embeddings)
    if far is not None and not far <= TOLERANCE:
        what = "the model gives other embeddings than when it was saved"
        raise EmbedkitError(f"{what} (difference {far:.2g} of the largest number)", str(source.model), AGAIN)
    cards = _card(source, facts, to)
    bundle = collect(source.model, {**records, **cards})
    bundle.stage(folder)
    return Staged(bundle, cards[card.NAME].decode(), texts, embeddings, far, _remarks(source, recorded))


def _refuse_other_files(source: Source, recorded: Probes) -> None:
    """Refuse files that are not those that the run wrote: its record tells the results of that model."""
    now = hashes(source.model)
    changed = sorted(name for name, digest in recorded.hashes.items() if now.get(name) != digest)
    if changed:
        cure = f"put them back, or {AGAIN}; a copy elsewhere is published as a model without a run"
        raise EmbedkitError(f"not as the run saved them: {listed(changed)}", str(source.model), cure)


def _records(source: Source) -> dict[str, bytes]:
    """The small records of a run, without secrets, paths and rows of data."""
    if source.record is None:
        return {}
    record, recipe = passed_on(source.record, source.recipe, source.root)
    told = as_json({"format": FORMAT, **asdict(record)}) + "\n"
    return {"run.json": told.encode(), **({"recipe.yaml": recipe.encode()} if recipe else {})}


def _card(source: Source, facts: ModelFacts, to: str) -> dict[str, bytes]:
    """The card with the model's name on the Hub: made anew, except where its owner has changed it."""
    file = source.model / card.NAME
    kept: dict[str, Any] = {} if source.record is None else source.record.model
    written = kept.get("card") or {}
    if file.is_file() and files.sha256(file) != written.get("sha256"):
        text, local = file.read_text(encoding="utf-8", errors="replace"), written.get("name")
        return {card.NAME: (text if local is None else _renamed(text, local, to, facts.kind)).encode()}
    facts = ModelFacts.of_record(kept) if kept.get("dim") or kept.get("kind") == "reranker" else facts
    sheet = card.sheet(facts, to, to.partition("/")[2], source.record, source.recipe, source.root)
    results = metadata.leaderboards(sheet.card, sheet.record)
    return {name: text.encode() for name, text in {**results, card.NAME: card.render(sheet)}.items()}


def _renamed(text: str, local: str, to: str, kind: str) -> str:
    return text.replace(card.loading(local, kind), card.loading(to, kind))


def _remarks(source: Source, recorded: Probes | None) -> list[str]:
    remarks = []
    if recorded is None:
        remarks.append("no embeddings were recorded with this model: only what comes back can be compared")
    if source.run is not None and source.run.frozen.is_dir():
        remarks.append(f"the frozen tower, {source.run.frozen.name}, is a model of its own and not part of this one")
    if source.record is not None and source.record.failed:
        remarks.append(f"the run did not end well: {source.record.failed}")
    return remarks
