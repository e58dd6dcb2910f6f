"""`start`: documents in, a tuned and measured model out; what a stage has left is not made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.folders import RunFolder
from embedkit.disk.locks import hold_folder
from embedkit.errors import DataError, EmbedkitError, RecipeError
from embedkit.foreign.quoting import quoted
from embedkit.inputs import parquet
from embedkit.recipe.filters import parse_synth
from embedkit.recipe.load import load
from embedkit.run.documents.asking import WHERE, questions_of, read_questions, write_questions
from embedkit.run.documents.made_recipe import recipe_text
from embedkit.run.documents.parting import by_document, held_out, unit_of, write_set
from embedkit.run.documents.place import TITLES, Asked, Place
from embedkit.run.documents.reading import Passage, digest, passages_of, write_corpus
from embedkit.run.mining_job import mine
from embedkit.run.mining_queries import SYNTH
from embedkit.run.state import Say
from embedkit.run.training import train
from embedkit.terminal import output

LIKE = "retrieval/infonce"
"""A shipped recipe with the keys of ours."""
FEW = 100
"""With fewer test questions than this the interval is wide."""


@dataclass(frozen=True)
class Start:
    """What `start` is to do.

    Attributes:
        documents: a folder of text files (`embedkit.data.passages.SUFFIXES`), or a file with a column `text`.
        out: the folder for all stages.
        model: base of the training.
        questions: ``title``, or ``synth:MODEL,...``: a language model writes them.
        judged: whether the same model judges each of its questions.
        words: of a passage, at most.
        held_out: share of the documents that only the test asks about.
        limit: questions, at most.
        test: BEIR folder with real questions, measured beside the made ones.
        seed: of everything drawn.
        device: of all models.
        overrides: of the recipe, ``key=value``.
    """

    documents: Path
    out: Path
    model: str
    questions: str = TITLES
    judged: bool = True
    words: int = 150
    held_out: float = 0.1
    limit: int | None = None
    test: Path | None = None
    seed: int = 42
    device: str = "auto"
    overrides: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what no stage could use.

        Raises:
            RecipeError, DataError: which setting, and the cure.
        """
        name, _, arg = self.questions.partition(":")
        if name == SYNTH:
            parse_synth(arg, WHERE)
        elif self.questions != TITLES:
            raise RecipeError(
                f"{quoted(self.questions)} is neither `title` nor `synth:MODEL`", WHERE, "e.g. synth:path/to/lm"
            )
        if not self.documents.exists():
            raise DataError("there is no such folder or file", str(self.documents), "look at the path")
        load(LIKE, self.overrides)  # they come last, and a typo should not wait for that


def start(settings: Start, *, dry: bool = False, say: Say = output.say, progress: bool = True) -> Place:
    """Go from documents to a model, one stage after the other.

    The folder gets ``corpus.jsonl`` (passages), ``questions.jsonl``, ``train/`` and ``test/`` (in BEIR's form),
    ``mined.parquet`` with ``audit/``, ``recipe.yaml`` and ``run/``. Called again it goes on after the last whole file:
    look at them, change them, remove one to have it made again, together with those after it.

    Args:
        settings: what to do.
        dry: only say what the passages are and what asking would cost.
        say: receives lines and tables for the terminal.
        progress: show bars.

    Raises:
        RecipeError: a setting cannot be, or the folder was begun with others.
        DataError: there is no text, or there are too few questions.
        BusyError, WriteError: another process works there; it cannot be written.
        EmbedkitError: as `mine` and `train`.
    """
    settings.check()
    left: Counter[str] = Counter()
    passages = passages_of(settings.documents, settings.words, left, progress=progress)
    say(f"{'passages':<13}{_counted(passages)}{_left(left)}")
    if dry:
        return _foresee(settings, passages, say)
    place = Place(settings.out)
    asked = Asked(
        **{name: getattr(settings, name) for name in Asked.__dataclass_fields__ if name not in ("documents", "sha256")},
        documents=settings.documents.name,
        sha256=digest(passages),
    )
    with hold_folder(settings.out, "starting"):
        place.begin(asked)
        _Stages(settings, asked, place, passages, say, progress).go()
    return place


def _foresee(settings: Start, passages: Sequence[Passage], say: Say) -> Place:
    calls = min(len(passages), settings.limit or len(passages))
    if settings.questions == TITLES:
        titled = len({p.document for p in passages if p.title})
        say(f"{'questions':<13}{titled:,} documents have a title; nothing is asked")
    else:
        judge = f", up to {calls:,} of the judge" if settings.judged else ""
        say(f"{'questions':<13}{calls:,} calls of the language model{judge}")
    say("dry run: nothing was written")
    return Place(settings.out)


def _counted(passages: Sequence[Passage]) -> str:
    return f"{len(passages):,} of {len({p.document for p in passages}):,} documents"


def _left(left: Counter[str]) -> str:
    found = "; ".join(f"{count:,} {why}" for why, count in left.items() if count)
    return f"; left out: {found}" if found else ""


@dataclass
class _Stages:
    """The stages that have something to do.

    Attributes:
        renewed: whether one before made its file now, so that what stands after it is of something else.
    """

    settings: Start
    asked: Asked
    place: Place
    passages: list[Passage]
    say: Say
    progress: bool
    renewed: bool = False

    def go(self) -> None:
        place, split = self.place, [self.place.root / name / "qrels" / f"{name}.tsv" for name in ("train", "test")]
        if not all(path.exists() for path in (place.corpus, place.questions, *split, place.mined, place.recipe)):
            self._refuse_a_run_of_other_files()
        self._stage([place.corpus], lambda: write_corpus(place.corpus, self.passages, titles=self._titled))
        self._stage([place.questions], self._ask)
        self._stage(split, self._part)
        self._stage([place.mined], self._mine)
        self._stage([place.recipe], self._recipe)
        self._train()

    @property
    def _titled(self) -> bool:
        """Whether passages keep their titles, which are no questions."""
        return self.settings.questions != TITLES

    def _refuse_a_run_of_other_files(self) -> None:
        """A stage will be made again, and a run is never removed by us.

        Raises:
            EmbedkitError: there is a run.
        """
        if not files.is_empty(self.place.run):
            what = "was trained before a stage's file was removed"
            raise EmbedkitError(what, str(self.place.run), "remove or move this folder, too; or choose another --out")

    def _stage(self, made: Sequence[Path], make: Callable[[], None]) -> None:
        names = ", ".join(path.relative_to(self.place.root).as_posix() for path in made)
        if not self.renewed and all(path.exists() for path in made):
            self.say(f"{names}: there already")
            return
        make()
        self.renewed = True
        self.say(f"-> {', '.join(map(str, made))}")

    def _ask(self) -> None:
        left: Counter[str] = Counter()
        device, titled = self.settings.device, self._titled
        options: dict[str, Any] = {"device": device, "say": self.say, "progress": self.progress}
        found = questions_of(self.asked, self.passages, self.place.answers, left, **options)
        self.say(f"{'questions':<13}{len(found):,}{_left(left)}")
        if not found:
            other = "give documents with a heading or a title, or --questions synth:MODEL"
            cure = "look at the model's answers; try another model" if titled else other
            raise DataError("there is no question", str(self.settings.documents), cure)
        write_questions(self.place.questions, found)

    def _part(self) -> None:
        questions, passages = read_questions(self.place.questions), self.passages
        away = held_out(passages, questions, self.settings.held_out, self.settings.seed)
        test = [q for q in questions if unit_of(q, passages) in away]
        train = [q for q in questions if unit_of(q, passages) not in away]
        whole = by_document(passages)
        seen = [p for p in passages if (p.document if whole else p.id) not in away]
        write_set(self.place.train, "train", seen, train, titles=self._titled)
        write_set(self.place.test, "test", passages, test, titles=self._titled)
        what = "documents" if whole else "passages"
        counts = f"{len(train):,} questions to train on, {len(test):,} to test"
        self.say(f"{'held out':<13}{len(away):,} {what}: {counts}")
        if len(test) < FEW:
            self.say(f"warning      {len(test):,} test questions give a wide interval: more documents or --held-out")

    def _mine(self) -> None:
        settings, place = self.settings, self.place
        mine(
            settings.model,
            out=place.mined,
            beir=place.train,
            split="train",
            audit=place.audit,
            device=settings.device,
            overwrite=True,
            depth=50,
            keep=4,
            filters=["margin=0.95"],
            seed=settings.seed,
            say=self.say,
            progress=self.progress,
        )

    def _recipe(self) -> None:
        settings, rows = self.settings, parquet.count(self.place.mined)
        text = recipe_text(
            model=settings.model, rows=rows, seed=settings.seed, device=settings.device, test=settings.test
        )
        files.write_text(self.place.recipe, text)

    def _train(self) -> None:
        folder = RunFolder(self.place.run)
        if folder.record.is_file() and folder.model.is_dir():
            self.say("run: there already")
            return
        recipe = load(self.place.recipe, self.settings.overrides).recipe
        resume = folder.recipe.is_file()
        options: dict[str, Any] = {"say": self.say, "progress": self.progress}
        train(recipe, self.place.run, resume=resume, recipe_path=self.place.recipe, **options)
