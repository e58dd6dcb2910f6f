"""The Hub as publishing sees it: what is there, a push, and the way back. All of it goes through `huggingface_hub`.

The order of a push: who am I, is the place there, make it, check the card, send what the Hub does not have yet, one
commit. What was sent before a push broke off is not sent again; a commit is whole or absent.
"""

from __future__ import annotations

import errno
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.errors import EmbedkitError, WriteError
from embedkit.foreign import showing
from embedkit.foreign.redacting import HIDDEN
from embedkit.publish.bundle import Bundle, Item, is_weights

logger = showing.logger(__name__)

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_TIMEOUT = 30.0
"""Seconds that a question may take."""
_OWN = {".gitattributes"}
"""What the Hub puts into an empty place itself."""


@dataclass(frozen=True)
class Place:
    """What is at a place of the Hub now.

    Attributes:
        there: whether there is a repository that this token may see.
        private: whether others cannot see it.
        branch: whether the revision is there.
        commit: that the revision is at.
        files: name -> digest of what it holds (SHA-256 of large files, git's of others).
    """

    there: bool = False
    private: bool = True
    branch: bool = True
    commit: str | None = None
    files: dict[str, str] = field(default_factory=dict)

    def same(self, item: Item) -> bool:
        """Whether a file is there as it is here."""
        found = self.files.get(item.name)
        return found is not None and found in _digests(item)

    def holds(self, bundle: Bundle) -> bool:
        """Whether all of it is there."""
        return all(self.same(item) for item in bundle.items)

    def other_model(self, bundle: Bundle) -> bool:
        """Whether there is a model of other weights."""
        weights = [name for name in self.files if is_weights(name)]
        return bool(weights) and not all(self.same(item) for item in bundle.items if item.weights)

    def stale(self, bundle: Bundle) -> list[str]:
        """Weights of another model there, that would stay beside this one's and be read in their place."""
        own = {item.name for item in bundle.items}
        return sorted(n for n in self.files if self.other_model(bundle) and is_weights(n) and n not in own)


@dataclass(frozen=True)
class Pushed:
    """Where it went.

    Attributes:
        url: of the model, or of the pull request.
        commit: what to ask for to get exactly this.
    """

    url: str
    commit: str


class Hub:
    """One place on the Hub, with the token of this machine.

    Args:
        repo: owner/name.
        revision: branch; None for main.
        endpoint: address of the Hub; None asks HF_ENDPOINT.
        again: the command that goes on after a failure, for the cures.

    Raises:
        EmbedkitError: it has no such names.
    """

    def __init__(self, repo: str, revision: str | None = None, *, endpoint: str | None = None, again: str = "") -> None:
        from huggingface_hub import HfApi, get_token

        self.repo, self.revision = repo, revision
        self.token = get_token()
        self.api = HfApi(endpoint=endpoint, token=self.token)
        self.again = again

    @property
    def url(self) -> str:
        """Of the model."""
        return f"{self.api.endpoint}/{self.repo}"

    def who(self) -> str:
        """The name behind the token.

        Raises:
            EmbedkitError: there is no token, or the Hub does not know it.
        """
        if self.token is None:
            raise EmbedkitError("there is no token for the Hub", self.repo, LOGIN)
        with self._speaking("who the token belongs to could not be asked"):
            return str(self.api.whoami()["name"])

    def place(self) -> Place:
        """What is there now.

        Raises:
            EmbedkitError: the Hub does not answer.
        """
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with self._speaking("what is there already could not be asked"):
            try:
                info = self.api.model_info(self.repo, timeout=_TIMEOUT)
            except RepositoryNotFoundError:
                return Place()
            try:
                if self.revision is not None:
                    commit = self.api.model_info(self.repo, revision=self.revision, timeout=_TIMEOUT).sha
                else:
                    commit = info.sha
            except RevisionNotFoundError:
                return Place(True, bool(info.private), branch=False)
            return Place(True, bool(info.private), True, commit, self._files(commit))

    def _files(self, commit: str | None) -> dict[str, str]:
        found = {}
        for entry in self.api.list_repo_tree(self.repo, recursive=True, revision=commit):
            lfs = getattr(entry, "lfs", None)
            digest = lfs.sha256 if lfs is not None else getattr(entry, "blob_id", None)
            if digest is not None and entry.path not in _OWN:
                found[entry.path] = digest
        return found

    def problems(self, card: str) -> tuple[list[str], list[str]]:
        """What the Hub says against the metadata of a card: errors, and warnings.

        Raises:
            EmbedkitError: the Hub does not answer.
        """
        from huggingface_hub.utils import build_hf_headers, get_session

        with self._speaking("the card's metadata could not be checked"):
            answer = get_session().post(
                f"{self.api.endpoint}/api/validate-yaml",
                json={"content": card, "repoType": "model"},
                headers=build_hf_headers(token=self.token),
                timeout=_TIMEOUT,
            )
            if answer.status_code not in (200, 400):
                answer.raise_for_status()
            said = answer.json()
        return [_message(e) for e in said.get("errors", ())], [_message(w) for w in said.get("warnings", ())]

    def push(self, bundle: Bundle, place: Place, *, private: bool, pr: bool, message: str) -> Pushed:
        """Make the place where there is none, and put all files there in one commit.

        Args:
            bundle: what goes.
            place: what is there.
            private: of a place that is made.
            pr: open a pull request.
            message: first line of the commit.

        Raises:
            EmbedkitError: why not; nothing is half there.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [CommitOperationDelete(path_in_repo=name) for name in place.stale(bundle)]
        operations += [CommitOperationAdd(path_in_repo=i.name, path_or_fileobj=i.source) for i in bundle.items]
        with self._speaking("the push failed"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the card was checked, and what was found was said
            if not place.there:
                self.api.create_repo(self.repo, private=private, exist_ok=True)
            if self.revision is not None and not (place.there and place.branch):
                self.api.create_branch(self.repo, branch=self.revision, exist_ok=True)
            made = self.api.create_commit(
                self.repo,
                operations,
                commit_message=message,
                revision=self.revision,
                create_pr=pr,
                parent_commit=place.commit,
            )
        return Pushed(made.pr_url or self.url, made.oid)

    def pull(self, commit: str, bundle: Bundle, folder: Path) -> None:
        """Get the files of a commit back into an empty folder, and compare them.

        Raises:
            WriteError: there is no room for them.
            EmbedkitError: they do not come, or are not what was sent.
        """
        then = f"the push is whole ({self.url}); only its check is missing: {self.again}"
        with self._speaking("what was pushed could not be read back", then):
            self.api.snapshot_download(
                self.repo,
                revision=commit,
                local_dir=folder,
                allow_patterns=[_literal(item.name) for item in bundle.items],
            )
        for item in bundle.items:
            came = folder / item.name
            if not came.is_file() or files.sha256(came) not in _digests(item):
                raise EmbedkitError(f"{item.name} came back as another file", f"{self.repo} at {commit}", self.again)

    # Errors ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _speaking(self, what: str, then: str = "") -> Iterator[None]:
        """Errors of the client as ours, with the server's own words and without the token."""
        try:
            yield
        except EmbedkitError:
            raise
        except Exception as error:
            known = self._known(error, what, then)
            if known is None:
                raise
            logger.info("%s", self._clear(f"{type(error).__name__}: {error}"))
            raise known from None  # the client's own errors hold requests with their headers

    def _known(self, error: Exception, what: str, then: str) -> EmbedkitError | None:
        chain = list(_chain(error))
        for found in chain:
            if isinstance(found, OSError) and found.errno in files.REASONS and found.errno != errno.EEXIST:
                reason, cure = files.REASONS[found.errno]
                room = "; TMPDIR chooses another disk" if found.errno == errno.ENOSPC else ""
                place = str(found.filename or self.repo)
                return WriteError(f"{what}: {reason}", place, f"{cure}{room}; {then or self.again}")
        for found in chain:
            status = getattr(getattr(found, "response", None), "status_code", None)
            if isinstance(status, int):
                return self._refused(status, self._words(found), what, then)
        names = {cls.__name__ for found in chain for cls in type(found).__mro__}
        if "OfflineModeIsEnabled" in names:
            return EmbedkitError(
                f"{what}: HF_HUB_OFFLINE forbids the Hub", self.repo, "publish where the Hub is allowed"
            )
        if names & {"TransportError", "ConnectionError", "TimeoutError", "LocalEntryNotFoundError", "ProtocolError"}:
            why = self._clear(str(chain[-1]) or type(chain[-1]).__name__)
            cure = then or f"nothing is half there, and what has arrived is not sent again; to go on: {self.again}"
            return EmbedkitError(f"{what}: no connection to {self.api.endpoint} ({why})", self.repo, cure)
        if isinstance(error, (ValueError, RuntimeError)):
            return EmbedkitError(f"{what}: {self._clear(str(error))}", self.repo, then or self.again)
        return None

    def _refused(self, status: int, words: str, what: str, then: str) -> EmbedkitError:
        """What an answer of the Hub means, and the cure."""
        owner = self.repo.partition("/")[0]
        meaning, cure = {
            401: ("the Hub does not know the token", LOGIN),
            403: (
                f"the token has no right to write to {self.repo}",
                f"take one that may write for {owner}, or a place of yours",
            ),
            404: ("there is no such place, or the token may not see it", f"is {self.repo} right? else {LOGIN}"),
            409: ("somebody else is writing there", self.again),
            412: ("something else was pushed there meanwhile", f"look at it, then: {self.again}"),
            413: ("the Hub takes no file as large as this", "save the model in shards"),
            429: ("the Hub asks to wait", f"in some minutes: {self.again}"),
        }.get(status, ("the Hub failed" if status >= 500 else "the Hub refused it", self.again))
        said = f": {words}" if words else ""
        return EmbedkitError(f"{what}: {meaning} ({status}{said})", self.repo, then or cure)

    def _words(self, error: BaseException) -> str:
        """What the server said."""
        response: Any = getattr(error, "response", None)
        said = response.headers.get("X-Error-Message") if response is not None else None
        return self._clear(str(said or getattr(error, "server_message", None) or "")).strip().rstrip(".")

    def _clear(self, text: str) -> str:
        return text if not self.token else text.replace(self.token, HIDDEN)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _message(entry: Any) -> str:
    return str(entry.get("message", entry) if isinstance(entry, dict) else entry)


def _literal(name: str) -> str:
    """A file's name as a pattern that fits it alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _digests(item: Item) -> Sequence[str]:
    """What the Hub may call the content of a file: SHA-256, or git's digest of a small one."""
    if isinstance(item.source, bytes):
        return hashlib.sha256(item.source).hexdigest(), _git(item.source)
    now = item.source.stat()
    return _of_file(item.source, now.st_size, now.st_mtime_ns)


@lru_cache(maxsize=1024)
def _of_file(path: Path, size: int, changed: int) -> Sequence[str]:
    """`_digests` of a file as it is now: weights are read once in a push."""
    if size < 2**24:
        content = path.read_bytes()
        return hashlib.sha256(content).hexdigest(), _git(content)
    return (files.sha256(path),)


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
