"""`export`: a model for another runtime, read back, compared with the model, and refused where it is another one."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedkit.disk import files
from embedkit.disk.locks import hold_file
from embedkit.errors import EmbedkitError, RecipeError, about
from embedkit.evaluation import suite as suites
from embedkit.evaluation import verdict as verdicts
from embedkit.evaluation.kept import Kept
from embedkit.evaluation.parity import Parity, parity, rates
from embedkit.evaluation.tasks import inputs
from embedkit.foreign.quoting import quoted
from embedkit.model.changing.cutting import cut
from embedkit.model.exporting.containers import write_container
from embedkit.model.exporting.distilling import write_student
from embedkit.model.exporting.llama import cut_otherwise
from embedkit.model.exporting.loading import BATCH, Exported
from embedkit.model.exporting.programs import write_program
from embedkit.model.exporting.targets import RECORD, Target, target_of
from embedkit.model.reading.loading import load_saved
from embedkit.model.running.encoder import Encoder
from embedkit.publish.probes import TEXTS
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model
from embedkit.run.environment import quiet_libraries, versions
from embedkit.run.state import Say
from embedkit.terminal import output
from embedkit.types import ROLES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.evaluation.compare import Comparison
    from embedkit.evaluation.tasks import TaskData
    from embedkit.recipe.suite import Suite
    from embedkit.types import Scores

FORMAT = 1
COMPARED, TIMED = 256, 128
"""Texts that are compared, and of them those that are timed."""
ALONE = 0.9999
"""Cosine below which a text alone and in a batch are said to differ."""
WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin*")


@dataclass(frozen=True)
class ExportRecord:
    """What an export is and how far it is from the model. Written beside it as ``embedkit_export.json``.

    Attributes:
        to: the target.
        model: what it was made of, as it was named, and its fingerprint.
        fingerprint: of that model.
        program: the file that a runtime reads, inside the folder.
        dim: numbers of an embedding.
        longest: tokens of a text that the model has positions for; None without a limit.
        parity: of embeddings, against the model, cut as the export is.
        bound: least cosine that was accepted; None where there was none.
        bytes: of the weights, before and after.
        rates: texts a second, before and after, in batches of `embedkit.model.exporting.loading.BATCH`.
        threads: of both.
        cut_otherwise: texts that the runtime cuts into other tokens than the model's tokenizer; None where it gets ids.
        comparison: a suite's figures: the model, and the export.
        versions: of the libraries.
    """

    to: str
    model: str
    fingerprint: str
    program: str
    dim: int
    longest: int | None
    parity: dict[str, Any]
    bound: float | None
    bytes: tuple[int, int]
    rates: tuple[float, float]
    threads: int
    cut_otherwise: int | None = None
    comparison: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"format": FORMAT, **asdict(self)}


@dataclass(frozen=True)
class _Asked:
    """What an export may cost."""

    target: Target
    name: str
    bound: float | None
    max_loss: float | None
    texts: Sequence[str] | None
    dim: int | None


def export(
    model: str | Model,
    to: str,
    out: str | Path,
    *,
    dim: int | None = None,
    texts: Sequence[str] | None = None,
    suite: str | Suite | None = None,
    data: str | Path | None = None,
    min_cosine: float | None = None,
    max_loss: float | None = None,
    keep_weights: bool = False,
    say: Say = output.say,
) -> ExportRecord:
    """Export a model, read the export back, compare it with the model, and write it whole or not at all.

    Args:
        model: folder, Hub id or `model` block.
        to: a name of `embedkit.model.exporting.targets.TARGETS`.
        out: the export's folder; must not exist yet.
        dim: keep the first numbers of an embedding only.
        texts: what is compared; None takes those of the suite, else of the shipped one.
        suite: measures the model and the export.
        data: folder of the suite's files.
        min_cosine: least cosine between two embeddings of a text; None: the target's.
        max_loss: points that the suite's average may fall by; None: any number.
        keep_weights: also keep the weights for PyTorch.
        say: receives lines.

    Raises:
        RecipeError: no such model, target or suite; a package that the target needs is missing.
        DataError: a file of the suite is missing.
        EmbedkitError: the export gives other embeddings than the model, or loses more; or something is at `out`.
        WriteError: the disk is full.

    Example:
        >>> done = export("runs/mine/model", "torch", "short", dim=8, texts=["bade fi", "golu"], say=lambda line: None)
        >>> done.dim
        8
    """
    quiet_libraries()
    target, place = target_of(to), Path(out).absolute()
    _check_asked(target, suite, min_cosine, keep_weights)
    if max_loss is not None and suite is None:
        raise RecipeError("a loss is that of a suite, and none is measured", "--max-loss", "add --suite")
    if place.exists():
        raise EmbedkitError("is there already", str(out), "choose another --out, or remove it")
    bound = target.least if min_cosine is None else min_cosine
    name = str(model.base) if isinstance(model, Model) else model
    asked = _Asked(target, name, bound, target.loss if max_loss is None else max_loss, texts, dim)
    measured = None if suite is None else _Measured(suite, data, say)
    staging = place.with_name(f"{files.OURS}-{place.name}")
    with hold_file(place, "exporting"), files.writing(place.parent):
        try:
            shutil.rmtree(staging, ignore_errors=True)
            encoder = _load(model)
            if measured is not None:
                measured.model(encoder, asked.name)
            fingerprint = encoder.fingerprint()
            if dim is not None and not target.distils:
                cut(encoder.st, dim)
            encoder.save(staging)
            record = _compared(encoder, fingerprint, asked, staging, measured, say)
            if target.folder and not keep_weights:
                _drop_weights(staging)
            files.write_json(staging / RECORD, record.plain())
            files.publish(staging, place)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    say(f"exported     {target.words}: {out}")
    return record


def _check_asked(target: Target, suite: str | Suite | None, min_cosine: float | None, keep_weights: bool) -> None:
    """Refuse what means nothing for a student, and one whose loss nobody would see."""
    if not target.distils:
        return
    if suite is None:
        what = f"{target.name} is another model, and what it loses only a suite tells"
        raise RecipeError(what, "--suite", "give one, e.g. --suite sts:STS-B --data DIR")
    if min_cosine is not None:
        what = "embeddings of a student have other directions: there is no cosine with the model's"
        raise RecipeError(what, "--min-cosine", "use --max-loss")
    if keep_weights:
        what = "a student has weights of its own, and the model's have no place beside them"
        raise RecipeError(what, "--keep-weights", "leave it out")


def _compared(
    encoder: Encoder, fingerprint: str, asked: _Asked, staging: Path, measured: _Measured | None, say: Say
) -> ExportRecord:
    """Write the program beside the model's files, read it back from there, and compare.

    Raises:
        EmbedkitError: it is another model, or loses too much.
    """
    target = asked.target
    plain = load_saved(staging, "cpu", trust=encoder.st.trust_remote_code)
    before = _bytes(staging)
    if target.distils:
        write_student(plain, staging, asked.dim)
    elif target.traced:
        write_program(plain, target, staging)
    elif target.runs_in_llama:
        write_container(plain, target, staging)
    exported = Exported.load(staging, target)
    exported.longest = None if target.distils else encoder.longest
    texts = _texts(asked.texts, measured)
    found = parity(encoder, exported, texts, _roles(encoder))
    if target.distils:  # other directions in space: only similarities can be compared
        found = replace(found, cosines={}, largest=None, worst="")
    if target.distils and any(encoder.prompt(role) for role in ROLES):
        say("note         the model's prompts are not part of it: its tokens were read one by one")
    if target.runs_in_llama:
        for line in _prompt_lines(encoder):
            say(line)
    for line in _parity_lines(found):
        say(line)
    otherwise = None
    if target.runs_in_llama:
        otherwise = cut_otherwise(exported.st, texts, [encoder.prompt(role) for role in _roles(encoder)])
        say(f"tokens       {otherwise} of {len(texts)} texts get another embedding, for llama.cpp cuts them otherwise")
    _refuse_far(found, asked)
    sizes, speeds = (before, _bytes(staging, target.folder)), _rates(plain, exported, texts)
    for line in _cost_lines(sizes, speeds, target):
        say(line)
    comparison = [] if measured is None else measured.export(exported, asked)
    return ExportRecord(
        to=target.name,
        model=asked.name,
        fingerprint=fingerprint,
        program=target.inside(Path()).as_posix() if target.folder else "",
        dim=found.dim,
        longest=exported.longest,
        parity=found.plain(),
        bound=asked.bound,
        cut_otherwise=otherwise,
        bytes=sizes,
        rates=speeds,
        threads=torch.get_num_threads(),
        comparison=[asdict(one) for one in comparison],
        versions=versions() | _runtime(target),
    )


def _load(model: str | Model) -> Encoder:
    if isinstance(model, Model):
        return Encoder.load(model, device="cpu")
    with about("MODEL", "model.base"):
        return Encoder.load(made(Model, base=model), device="cpu")


class _Measured:
    """A suite's figures of the model, and of its export."""

    def __init__(self, suite: str | Suite, data: str | Path | None, say: Say) -> None:
        self.suite = suites.load_suite(suite, data)
        self.read: list[TaskData] = suites.load_data(self.suite)
        self.say = say

    def model(self, encoder: Encoder, name: str) -> None:
        """Measure the model as it is, not cut."""
        self.before: Scores = suites.evaluate_suite(
            encoder, self.suite, data=self.read, model_name=name, kept=Kept(encoder)
        )

    def export(self, exported: Exported, asked: _Asked) -> list[Comparison]:
        """Measure the export and compare.

        Raises:
            EmbedkitError: it loses more than it may.
        """
        name = f"its export to {asked.target.name}"
        after = suites.evaluate_suite(exported, self.suite, data=self.read, model_name=name)
        found: list[Comparison] = suites.compare(self.before, after)
        self.say(suites.table(after, self.before, found))
        self.say(verdicts.sentence(found, asked.name, name))
        headline = verdicts.headline(found)
        if asked.target.distils and headline.before > 0:
            self.say(f"kept         {100 * headline.after / headline.before:.1f} % of the model's score")
        loss = -headline.difference.value
        if asked.max_loss is not None and loss > asked.max_loss:
            what = f"the export loses {loss:.2f} points, {asked.max_loss:g} are allowed"
            raise EmbedkitError(what, asked.name, _cure(asked.target, "--max-loss"))
        return found


# Texts --------------------------------------------------------------------------------------------------------


def _texts(given: Sequence[str] | None, measured: _Measured | None) -> list[str]:
    """What is compared: at most `COMPARED` of the texts, evenly spread, and those of the probes."""
    if given is None:
        read = measured.read if measured is not None else suites.load_data(suites.load_suite("mini"))
        given = [text for data in read for group, _ in inputs(data) for text in group]
    distinct = list(dict.fromkeys(given))
    step = max(1, -(-len(distinct) // COMPARED))
    return [*distinct[::step], *(text for text in TEXTS if text not in distinct)]


def _roles(encoder: Encoder) -> list[str]:
    """The roles whose texts are not the same: one where no role has a prompt of its own."""
    return list({encoder.prompt(role): role for role in reversed(ROLES)}.values())


# What it costs ------------------------------------------------------------------------------------------------


def _bytes(export: Path, program: str = "") -> int:
    """Bytes of the weights for PyTorch, or of a program in its folder."""
    if program:
        return sum(path.stat().st_size for path in (export / program).iterdir())
    return sum(path.stat().st_size for pattern in WEIGHTS for path in export.glob(pattern))


def _rates(plain: SentenceTransformer, exported: Exported, texts: Sequence[str]) -> tuple[float, float]:
    """Texts a second by sentence-transformers with PyTorch, and with the export."""
    few = list(texts)[:TIMED]

    def by(st: SentenceTransformer) -> object:
        return st.encode(few, batch_size=BATCH, show_progress_bar=False)

    before, after = rates([lambda: by(plain), lambda: by(exported.st)], len(few))
    return round(before, 2), round(after, 2)


def _drop_weights(export: Path) -> None:
    for pattern in WEIGHTS:
        for path in export.glob(pattern):
            path.unlink()


def _runtime(target: Target) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in target.needs}


# What is said -------------------------------------------------------------------------------------------------


def _parity_lines(found: Parity) -> Iterator[str]:
    if found.least is None or found.mean is None or found.largest is None:
        yield f"parity       embeddings of {found.dim} numbers: no cosine with the model's"
    else:
        yield (
            f"parity       {found.texts} texts: cosine {found.mean:.6f} on average, {found.least:.6f} at least; "
            f"largest difference {found.largest:.1e}"
        )
    yield f"             similarities of all pairs: rank correlation {found.agreement:.4f}"
    if found.alone < ALONE:
        yield f"note         a text alone and in a batch: cosine {found.alone:.4f} at least; the batch has a say in it"


def _prompt_lines(encoder: Encoder) -> Iterator[str]:
    """GGUF carries no prompts."""
    for role in ROLES:
        if encoder.prompt(role):
            yield f"note         the file has no prompts: put {quoted(encoder.prompt(role))} before each {role}"


def _cost_lines(sizes: tuple[int, int], speeds: tuple[float, float], target: Target) -> Iterator[str]:
    yield f"size         {sizes[0] / 1e6:,.1f} MB -> {sizes[1] / 1e6:,.1f} MB"
    yield (
        f"speed        {speeds[0]:,.1f} -> {speeds[1]:,.1f} texts/s, {speeds[1] / max(speeds[0], 1e-9):.2f} times; "
        f"batches of {BATCH}, CPU, threads: {torch.get_num_threads()}"
    )
    if target.runs_in_llama:
        yield "note         the speed is that of llama.cpp as xllamacpp builds it; one for your processor may be faster"
    if target.distils and speeds[1] <= speeds[0]:
        yield "note         it is no faster than the model on this machine"
    if target.distils and sizes[1] >= sizes[0]:
        yield "note         it is no smaller than the model"


def _refuse_far(found: Parity, asked: _Asked) -> None:
    if asked.bound is None or found.least is None or found.least >= asked.bound:
        return
    what = (
        f"the export gives other embeddings than the model: cosine {found.least:.4f}, at least {asked.bound:g} is asked"
    )
    raise EmbedkitError(what, asked.name, _cure(asked.target, "--min-cosine"), [f"at {quoted(found.worst)}"])


def _cure(target: Target, option: str) -> str:
    if target.distils:
        return f"keep more numbers with --dim, train the student on texts, or allow it with {option}"
    if target.runs_in_llama:
        return f"llama.cpp may cut this text into other tokens; allow it with {option}, once --suite says what it costs"
    if target.name == "int8":
        return f"export to onnx, which loses nothing; or allow it with {option}, once --suite says what it costs"
    return f"allow it with {option}, once --suite says what it costs; a float32 program that differs is worth a report"
