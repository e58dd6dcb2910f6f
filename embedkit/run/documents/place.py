"""What `embedkit start` was asked for, and where its stages leave their files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.model_files import read_json
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import quoted

TITLES = "title"
"""Questions that are the documents' titles."""


@dataclass(frozen=True)
class Asked:
    """Settings that decide what the files of the stages hold; once begun, they stay.

    Attributes:
        documents: the folder or file, by its last name; its content is compared by `sha256`.
        sha256: of all passages.
        model: base of the training, which also mines.
        questions: ``title`` or ``synth:MODEL,...``, as `embedkit mine --queries-from`.
        judged: whether the language model says of each of its questions whether the passage answers it.
        words: of a passage, at most.
        held_out: share of the documents that only the test asks about.
        limit: questions, at most.
        seed: of everything drawn.
    """

    documents: str
    sha256: str
    model: str
    questions: str
    judged: bool
    words: int
    held_out: float
    limit: int | None
    seed: int


@dataclass(frozen=True)
class Place:
    """The folder and its files, in the order in which they come to be."""

    root: Path

    @property
    def asked(self) -> Path:
        return self.root / "start.json"

    @property
    def corpus(self) -> Path:
        return self.root / "corpus.jsonl"

    @property
    def answers(self) -> Path:
        return self.root / "answers.cache"

    @property
    def questions(self) -> Path:
        return self.root / "questions.jsonl"

    @property
    def train(self) -> Path:
        return self.root / "train"

    @property
    def test(self) -> Path:
        return self.root / "test"

    @property
    def mined(self) -> Path:
        return self.root / "mined.parquet"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def begin(self, asked: Asked) -> None:
        """Write what was asked, or compare with what stands there.

        Raises:
            RecipeError: the folder was begun with something else, or is no folder of `embedkit start`.
        """
        now = asdict(asked)
        if not self.asked.exists():
            if not files.is_empty(self.root):
                raise RecipeError(
                    "is not empty, and `embedkit start` did not begin it", str(self.root), "choose another --out"
                )
            files.write_json(self.asked, now)
            return
        before: dict[str, Any] = read_json(self.asked, dict)
        differs = [name for name in now if before.get(name) != now[name]]
        if differs:
            words = ", ".join(f"{n}: {quoted(str(before.get(n)))} -> {quoted(str(now[n]))}" for n in differs)
            cure = "choose another --out, or give what it was begun with"
            raise RecipeError(f"was begun with something else ({words})", str(self.asked), cure)
