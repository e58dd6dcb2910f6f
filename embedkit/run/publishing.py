"""`publish`: a trained model to the Hub, looked through before, and compared with what comes back."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.folders import RunFolder
from embedkit.errors import EmbedkitError
from embedkit.publish.hub import Hub, Place
from embedkit.publish.probes import TOLERANCE, answers, distance
from embedkit.recipe.hand_over import Publish, in_words
from embedkit.recipe.load import made
from embedkit.run import publishing_files
from embedkit.run.environment import quiet_libraries
from embedkit.run.publishing_files import Source, Staged
from embedkit.run.state import Say
from embedkit.terminal import output
from embedkit.types import RunRecord


@dataclass(frozen=True)
class Published:
    """What was pushed, or would be.

    Attributes:
        to: owner/name.
        private: of a place that is made.
        files: name -> bytes.
        left_out: files of the folder that do not go, and why.
        distance: how far the embeddings of what goes are from those recorded when the model was saved, as a share of
            the largest number; None where none were recorded.
        problems: what the Hub says against the card's metadata; None where it was not asked.
        remarks: what else is to be known.
        url, commit: where it is; empty where nothing was pushed.
        unchanged: whether all of it was there already.
    """

    to: str
    private: bool
    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    distance: float | None = None
    problems: list[str] | None = None
    remarks: list[str] = field(default_factory=list)
    url: str = ""
    commit: str = ""
    unchanged: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def publish(
    run: str | Path,
    to: str,
    *,
    push: bool = False,
    private: bool = True,
    revision: str | None = None,
    pr: bool = False,
    message: str | None = None,
    overwrite: bool = False,
    endpoint: str | None = None,
    device: str = "auto",
    say: Say = output.say,
) -> Published:
    """Show what would go to the Hub, or push it, get it back and compare.

    Only the model's own files go, its card, results for leaderboards, and of a run ``recipe.yaml`` and ``run.json``
    without secrets and paths. Before anything is sent the files are read as they go, and must give the embeddings that
    were recorded when the model was saved.

    Args:
        run: folder of a run, or of any model.
        to: owner/name on the Hub.
        push: really push.
        private: of a place that is made; a public one that is there is refused unless this is False.
        revision: a branch, made where there is none.
        pr: open a pull request.
        message: first line of the commit.
        overwrite: replace another model that is there.
        endpoint: address of the Hub; None asks HF_ENDPOINT.
        device: where the model is tried.
        say: receives lines.

    Raises:
        RecipeError: the model does not load, or `to` is no name on the Hub.
        RecordError: the run's record cannot be read.
        EmbedkitError: something private is in the files, the embeddings are others, or the Hub refuses.
        WriteError: the disk is full.

    Example:
        >>> would = publish("runs/mine", "me/syllables", say=lambda line: None)  # nothing is sent without push=True
        >>> "model.safetensors" in would.files, would.commit
        (True, '')
    """
    quiet_libraries()
    asked = made(Publish, to=to, private=private, revision=revision, pr=pr, message=message, overwrite=overwrite)
    source = publishing_files.find(Path(run), device)
    hub = Hub(asked.to, asked.revision, endpoint=endpoint, again=command(run, asked))
    if push:
        hub.who()
    with tempfile.TemporaryDirectory(prefix="embedkit-") as space:
        staged = publishing_files.stage(source, asked.to, Path(space) / "model")
        place, problems, remarks = _asked(hub, staged, push)
        found = Published(
            asked.to,
            asked.private,
            {item.name: item.size for item in staged.bundle.items},
            dict(staged.bundle.left_out),
            staged.distance,
            problems,
            [*staged.remarks, *remarks],
        )
        for line in _lines(str(run), asked, staged, place, found):
            say(line)
        if not push:
            return found
        _refuse(place, staged, asked, problems)
        url, commit, unchanged = _push(hub, place, staged, asked, say)
        _back(hub, commit, staged, source, Path(space) / "back")
        say("came back    the same files, and the same embeddings from them")
        return replace(found, url=url, commit=commit, unchanged=unchanged)


def command(run: str | Path, asked: Publish) -> str:
    """The command that does it."""
    options = [] if asked.private else ["--public"]
    for name, value in (("--revision", asked.revision), ("--message", asked.message)):
        options += [name, value] if value is not None else []
    options += ["--pr"] if asked.pr else []
    options += ["--overwrite"] if asked.overwrite else []
    return shlex.join(["embedkit", "publish", str(run), asked.to, *options, "--push"])


def _asked(hub: Hub, staged: Staged, push: bool) -> tuple[Place, list[str] | None, list[str]]:
    """What is there, what the Hub says of the card, and remarks; without a push it need not answer."""
    try:
        place = hub.place()
        problems, remarks = hub.problems(staged.card)
    except EmbedkitError as error:
        if push:
            raise
        return Place(), None, [f"the Hub was not asked: {error.what}"]
    return place, problems, [f"the card's metadata: {line}" for line in remarks]


def _refuse(place: Place, staged: Staged, asked: Publish, problems: list[str] | None) -> None:
    """Refuse a push that would do what nobody asked for.

    Raises:
        EmbedkitError: what.
    """
    if problems:
        cure = "mend the block at the head of README.md, or the recipe's card"
        raise EmbedkitError("the Hub does not take the card's metadata", asked.to, cure, problems)
    if place.there and asked.private and not place.private:
        raise EmbedkitError("the place is there and public", asked.to, "add --public, or choose another name")
    if place.other_model(staged.bundle) and not asked.pr and not asked.overwrite:
        what = "another model is there"
        raise EmbedkitError(what, asked.to, "add --overwrite to replace it, --pr to propose it, or choose another name")


def _push(hub: Hub, place: Place, staged: Staged, asked: Publish, say: Say) -> tuple[str, str, bool]:
    """Address, commit, and whether all of it was there already."""
    if place.commit is not None and place.holds(staged.bundle):
        say(f"unchanged    all of it is there already: {hub.url} at {place.commit[:12]}")
        return hub.url, place.commit, True
    message = asked.message or f"{asked.to.partition('/')[2]}, by embedkit"
    done = hub.push(staged.bundle, place, private=asked.private, pr=asked.pr, message=message)
    say(f"pushed       {done.url} at {done.commit[:12]}")
    return done.url, done.commit, False


def _back(hub: Hub, commit: str, staged: Staged, source: Source, folder: Path) -> None:
    """Get the model back and compare it, file by file and by its embeddings.

    Raises:
        EmbedkitError: it is another one.
    """
    files.make_folder(folder)
    hub.pull(commit, staged.bundle, folder)
    far = distance(answers(source.load(folder), staged.texts), staged.embeddings)
    if not far <= TOLERANCE:
        what = f"the model that came back gives other embeddings (difference {far:.2g} of the largest number)"
        raise EmbedkitError(what, f"{hub.repo} at {commit}", "its files are equal: please report this")


# In words -----------------------------------------------------------------------------------------------------


def _lines(run: str, asked: Publish, staged: Staged, place: Place, found: Published) -> Iterator[str]:
    who = "private" if asked.private else "public"
    where = "a pull request" if asked.pr else asked.revision or "main"
    yield f"publish      {run} -> {asked.to}, {who}, {where}"
    sizes = list(found.files.items())
    wide = max(len(name) for name in found.files)
    for number, (name, size) in enumerate(sizes):
        yield f"{'files' if number == 0 else '':<13}{name:<{wide}}  {_bytes(size)}"
    yield f"{'':<13}{len(sizes)} files, {_bytes(staged.bundle.size).strip()}"
    for number, (name, why) in enumerate(found.left_out.items()):
        yield f"{'left out' if number == 0 else '':<13}{name}: {why}"
    if found.distance is not None:
        yield f"embeddings   as when the model was saved (difference {found.distance:.1g} of the largest number)"
    if found.problems is not None:
        yield f"card         {'; '.join(found.problems) if found.problems else 'the Hub takes its metadata'}"
        yield f"there        {_there(place, staged)}"
    for line in found.remarks:
        yield f"note         {line}"


def _there(place: Place, staged: Staged) -> str:
    if not place.there:
        return "nothing yet"
    who = "private" if place.private else "public"
    if place.holds(staged.bundle):
        return f"all of it, {who}"
    if not place.other_model(staged.bundle):
        return f"no other model, {who}"
    return f"another model, {who}; also removed: {', '.join(place.stale(staged.bundle)) or 'nothing'}"


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:8.1f} {unit}"
    return f"{size:8d} B"


# A recipe's own step ------------------------------------------------------------------------------------------


def ready(asked: Publish | None, root: Path, say: Say) -> None:
    """Ask before hours of training whether the recipe's place would take the model.

    Args:
        asked: the recipe's `publish` block; nothing is asked without one.
        root: the run's folder.
        say: receives a line.

    Raises:
        EmbedkitError: the Hub does not answer or does not know the token, or the place is public and should not be.
    """
    if asked is None:
        return
    hub = Hub(asked.to, asked.revision, again=command(root, asked))
    hub.who()
    place = hub.place()
    if place.there and asked.private and not place.private:
        raise EmbedkitError("the place is there and public", asked.to, "set publish.private: false, or another place")
    say(f"publish      {in_words(asked)}")


def step(asked: Publish | None, folder: RunFolder, record: RunRecord, device: str, say: Say) -> None:
    """Publish the result as the recipe says; what fails here is in the record, and the model is where it was.

    Args:
        asked: the recipe's `publish` block; nothing is done without one.
        folder: the run's.
        record: gets where the model is, or why it is not there.
        device: where the model is tried.
        say: receives lines.

    Raises:
        EmbedkitError: why not, and the command that goes on.
    """
    if asked is None:
        return
    again = command(folder.root, asked)
    options = asked.model_dump(exclude={"to"})
    start = time.perf_counter()
    try:
        found = publish(folder.root, asked.to, push=True, device=device, say=say, **options)
    except Exception as error:
        record.failed = f"publishing: {type(error).__name__}: {error}"
        folder.write_record(record)
        what = error.what if isinstance(error, EmbedkitError) else f"{type(error).__name__}: {error}"
        kind = type(error) if isinstance(error, EmbedkitError) else EmbedkitError
        cure = f"{error.cure}; " if isinstance(error, EmbedkitError) and error.cure else ""
        raise kind(
            f"the model is trained, but not published: {what}", asked.to, f"{cure}the run is whole; to go on: {again}"
        ) from error
    record.published = {"to": found.to, "url": found.url, "commit": found.commit}
    record.timings["publishing"] = round(time.perf_counter() - start, 3)
    folder.write_record(record)
