"""What all runs of one comparison share, and where their results lie."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare.table import Method
from embedkit.errors import DataError, EmbedkitError
from embedkit.evaluation.suite import load_data, load_suite
from embedkit.recipe.suite import StsTask, Suite

TEST_ONLY = {"SICK-R": "test"}
"""Tasks of the sts suite that SimCSE's protocol measures on one split."""


class OtherSettings(EmbedkitError):
    """A run's folder holds the result of another comparison."""


@dataclass(frozen=True)
class Study:
    """One comparison.

    Attributes:
        base, text: the encoder and the sentences of all methods, absolute or a Hub id.
        data: folder of the suite's files.
        work: one folder per method and seed below it.
        steps, batch: of every training.
        suite: a shipped suite or a file.
        train_length, length: tokens kept when training and when evaluating.
        extra: overrides for every method.
        keep_models: leave trained models on disk.
        masked_lm: the generator of methods that need one; None takes the base.
    """

    base: str
    text: Path
    data: Path | None
    work: Path
    steps: int
    batch: int
    suite: str = "sts"
    train_length: int = 32
    length: int = 96
    extra: dict[str, str] = field(default_factory=dict)
    keep_models: bool = False
    masked_lm: str | None = None

    @cached_property
    def tasks(self) -> Suite:
        """The suite; `TEST_ONLY` tasks keep the file of that split alone."""
        suite = load_suite(self.suite, self.data)
        tasks = []
        for task in suite.tasks:
            assert isinstance(task, StsTask), f"{task.name}: the comparison is made for STS suites"
            files = task.files
            if suite.name == "sts" and task.name in TEST_ONLY:
                files = tuple(f for f in files if TEST_ONLY[task.name] in Path(f).stem.lower())
            tasks.append(task.model_copy(update={"files": files, "max_length": self.length}))
        return suite.model_copy(update={"tasks": tuple(tasks)})

    @cached_property
    def pairs(self) -> list[Any]:
        """The suite's data, read once."""
        return load_data(self.tasks)

    @cached_property
    def sentences(self) -> dict[str, Any]:
        """Name, lines and digest of the text."""
        if not self.text.is_file():
            raise DataError("no such file", str(self.text), "give sentences, one per line, with --text")
        digest, lines = hashlib.sha256(), 0
        with self.text.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                lines += block.count(b"\n")
        return {"name": self.text.name, "lines": lines, "sha256": digest.hexdigest()[:16]}

    @cached_property
    def origin(self) -> dict[str, Any]:
        """The base in words: name, content hash, size."""
        from embedkit.model.running.encoder import Encoder
        from embedkit.recipe.schema import Model

        encoder = Encoder.load(Model(base=self.base))
        size = sum(p.numel() for p in encoder.st.parameters())
        return {
            "name": Path(self.base).name if Path(self.base).exists() else self.base,
            "fingerprint": encoder.fingerprint()[:16],
            "parameters": size,
            "dim": encoder.dim,
        }

    @cached_property
    def generator(self) -> str | None:
        """Content hash of `masked_lm`."""
        from embedkit.model.running.encoder import Encoder
        from embedkit.recipe.schema import Model

        return Encoder.load(Model(base=self.masked_lm)).fingerprint()[:16] if self.masked_lm else None

    @property
    def seen(self) -> int:
        """Sentences of every training: the first lines of the text, each once."""
        return self.steps * self.batch

    @property
    def common(self) -> dict[str, Any]:
        """Overrides of every recipe. Nothing is evaluated in training, so nothing is chosen by it."""
        return {
            "model.base": "{base}",
            "model.max_length": self.train_length,
            "train.steps": self.steps,
            "train.batch_size": self.batch,
            "eval.suite": None,
            "eval.during": None,
            "eval.every": None,
            "eval.patience": None,
            "eval.before": False,
            "eval.keep": "last",
            **self.extra,
        }

    def folder(self, method: Method, seed: int) -> Path:
        """Where the results of one run lie."""
        return self.work / method.name / (f"seed-{seed}" if method.seeded else "fixed")

    def places(self, seed: int, needs: list[str]) -> dict[str, str]:
        """What the placeholders of the table stand for.

        Raises:
            EmbedkitError: a model that a method needs was not kept.
        """
        found = {"generator": self.masked_lm or self.base, "base": self.base, "text": str(self.text)}
        for name in needs:
            model = self.work / name / f"seed-{seed}" / "model"
            if not model.is_dir():
                raise EmbedkitError(
                    f"the model that {name} trained with seed {seed} is not there",
                    str(model),
                    f"remove {model.parent} and run again: it is trained anew",
                )
            found[name] = str(model)
        return {**found, "groups": str(groups(self.origin["dim"]))}

    def settings(self, resolved: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
        """What decides the result of a run, without paths: two runs with equal settings are the same run."""
        reads = self.masked_lm is not None and self.masked_lm in json.dumps(resolved)
        return {
            **({"generator": self.generator} if reads else {}),
            "base": self.origin["fingerprint"],
            "text": self.sentences["sha256"],
            "suite": {t.name: d.digest for t, d in zip(self.tasks.tasks, self.pairs, strict=True)},
            "length": self.length,
            "recipe": _without_paths(
                resolved, {place: f"{{{name}}}" for name, place in places.items() if "/" in place}
            ),
        }


def without_folders(text: str) -> str:
    """A message without the folders of this machine: of every absolute path the last part stays."""
    return re.sub(r"(/[\w.-]+)+/([\w.-]+)", r"\2", text)


def groups(dim: int, size: int = 6) -> int:
    """How many equal groups of at least `size` coordinates `dim` has: WhitenedCSE's 128 for 768."""
    return next(dim // wide for wide in range(min(size, dim), dim + 1) if dim % wide == 0)


def _without_paths(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(inner, names) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


# Results on disk ----------------------------------------------------------------------------------------------


def write(folder: Path, result: dict[str, Any], draws: dict[str, np.ndarray]) -> None:
    """``draws.npz``, then ``result.json``: a folder with the latter is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "draws.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: d.astype(np.float32) for name, d in draws.items()})
    part = folder / "result.json.part"
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / "result.json")


def finished(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result in a folder, if it has one of these settings.

    Raises:
        OtherSettings: it holds a result of others.
    """
    path = folder / "result.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    other = _difference(found["settings"], json.loads(json.dumps(settings)), "")
    if other:
        raise OtherSettings(
            f"holds a result of other settings: {other}", str(folder), "give another --work, or remove this folder"
        )
    return found


def _difference(old: Any, new: Any, path: str) -> str:
    """The first place where two settings differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            place = f"{path}.{key}".lstrip(".")
            if found := _difference(old.get(key, "nothing"), new.get(key, "nothing"), place):
                return found
        return ""
    return "" if old == new else f"{path} was {old!r}, is {new!r}"
