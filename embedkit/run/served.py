"""`evaluate_served`: a server of embeddings, measured, and compared text by text with the model that it should serve.

Prompts, pooling, normalisation and truncation get lost between a model's folder and a server. What is served is
measured as it comes, ``POST URL/embeddings`` in the form of OpenAI (TEI, vLLM, llama.cpp, ...).
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embedkit.errors import EmbedkitError, about
from embedkit.evaluation import suite as suites
from embedkit.foreign.parsing import from_json
from embedkit.foreign.quoting import cut
from embedkit.foreign.redacting import HIDDEN
from embedkit.model.running.encoder import Encoder
from embedkit.publish.probes import TEXTS
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model
from embedkit.recipe.suite import Suite
from embedkit.run.environment import quiet_libraries
from embedkit.run.state import Say
from embedkit.synthesis.connection import Watch, post
from embedkit.synthesis.endpoint import TRANSIENT, address, key_in
from embedkit.terminal import output
from embedkit.types import ROLES, Encodes, Scores

TOLERANCE = 1e-3
"""Cosine distance between two embeddings that are taken for the same: half precision stays below it."""
_BATCH, _ATTEMPTS, _SECONDS = 32, 5, 120.0
_MOST = 2**28
"""Bytes of one answer."""
_CURE = "is the address right, and does the server know the model by this name? (--served-name)"


class Served:
    """A server of embeddings.

    Args:
        url: base address, e.g. ``http://localhost:8080/v1``.
        name: what the server calls the model.
        key_env: environment variable that holds the key; if it is not set none is sent.
        backoff: seconds before the first further attempt.

    Raises:
        RecipeError: no HTTP address, or it holds credentials.
    """

    def __init__(self, url: str, name: str, *, key_env: str = "OPENAI_API_KEY", backoff: float = 1.0) -> None:
        self.url, self.name, self.backoff = address(url, "/embeddings"), name, backoff
        self._key = key_in(key_env)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, d], as the server gives them for the texts as they are.

        Raises:
            EmbedkitError: no answer, or none that holds embeddings.
        """
        found = [self._ask(list(texts[i : i + _BATCH])) for i in range(0, len(texts), _BATCH)]
        if len({part.shape[1] for part in found}) > 1:
            raise EmbedkitError("gives embeddings of different sizes", self.url, "look at the server's log")
        return np.concatenate(found)

    def _ask(self, texts: list[str]) -> np.ndarray:
        for attempt in range(1, _ATTEMPTS + 1):
            status, text = self._once(texts)
            if 200 <= status < 300:
                return self._vectors(text, len(texts))
            if status and status < 500 and status not in TRANSIENT:
                raise EmbedkitError(f"HTTP {status}: {cut(text)}", self.url, _CURE)
            if attempt < _ATTEMPTS:
                time.sleep(self.backoff * 2 ** (attempt - 1))
        what = f"no answer after {_ATTEMPTS} attempts: {f'HTTP {status}: ' if status else ''}{cut(text)}"
        raise EmbedkitError(what, self.url, "is the server running there?")

    def _once(self, texts: list[str]) -> tuple[int, str]:
        """Status and body; 0 and the reason where none came. Without the key, whatever the server says."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "embedkit"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        body = json.dumps({"model": self.name, "input": texts, "encoding_format": "float"}).encode()
        watch = Watch(_SECONDS)
        try:
            answer = post(self.url, body, headers, timeout=_SECONDS, most=_MOST, watch=watch)
            status, said = answer.status, answer.body.decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            status, said = 0, f"{type(error).__name__}: {getattr(error, 'reason', error)}"
        finally:
            watch.close()
        return status, said.replace(self._key, HIDDEN) if self._key else said

    def _vectors(self, text: str, count: int) -> np.ndarray:
        try:
            data = sorted(from_json(text)["data"], key=lambda entry: entry["index"])
            if [entry["index"] for entry in data] != list(range(count)):
                raise ValueError(f"{len(data)} embeddings for {count} texts")
            found = np.array([entry["embedding"] for entry in data], dtype=np.float32)
            if found.ndim != 2 or found.shape[1] < 1 or not np.isfinite(found).all():
                raise ValueError("embeddings that are no lists of numbers")
        except (ValueError, KeyError, TypeError) as error:
            what = f"the answer holds no embeddings: {error}: {cut(text)}"
            raise EmbedkitError(what, self.url, "give a server of OpenAI's /v1/embeddings") from None
        return found


@dataclass
class Parity:
    """How far a server's embeddings are from the model's.

    Attributes:
        prompts: whether the server gets the model's prompts before the texts.
        texts: how many were compared.
        worst: the largest cosine distance.
        first: the first text that is further away than `TOLERANCE`, with its role; empty where none is.
        dim, served_dim: sizes of the model's and the server's embeddings.
        notes: what else is different, and what the difference looks like.
        scores: of the server on the suite; None without one.
    """

    prompts: bool
    texts: int = 0
    worst: float = 0.0
    first: str = ""
    dim: int = 0
    served_dim: int = 0
    notes: list[str] = field(default_factory=list)
    scores: Scores | None = None

    @property
    def same(self) -> bool:
        """Whether the server gives the model's embeddings."""
        return self.dim == self.served_dim and not self.first and self.worst <= TOLERANCE


class _Both:
    """The server as an evaluation sees it; the model is asked the same, and both are compared."""

    def __init__(self, served: Served, model: Encoder, parity: Parity) -> None:
        self.served, self.model, self.parity = served, model, parity
        self.similarity = model.similarity

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> np.ndarray:
        """float32 [texts, d] of the server."""
        prompt = self.model.prompt(role) if self.parity.prompts else ""
        got = self.served.encode([prompt + text for text in texts])
        options = {"max_length": max_length, "batch_tokens": batch_tokens, "progress": progress}
        want = self.model.encode(texts, role=role, **options)  # type: ignore[arg-type]
        self.parity.texts += len(texts)
        self.parity.dim, self.parity.served_dim = want.shape[1], got.shape[1]
        if got.shape == want.shape:
            far = _distances(got, want)
            self.parity.worst = max(self.parity.worst, float(far.max()))
            beyond = np.flatnonzero(far > TOLERANCE)
            if len(beyond) and not self.parity.first:
                self.parity.first = f"{role}: {cut(texts[beyond[0]])}"
        return got

    def fingerprint(self) -> str:
        """The server's address and the model's name there: what it serves is not known."""
        return f"served {self.served.url} {self.served.name}"


def evaluate_served(
    model: str,
    endpoint: str,
    *,
    suite: str | Suite | None = None,
    data: str | Path | None = None,
    name: str | None = None,
    key_env: str = "OPENAI_API_KEY",
    resamples: int = 1000,
    backoff: float = 1.0,
    say: Say = output.say,
    progress: bool = True,
) -> Parity:
    """Compare what a server gives with what the model gives, on a few texts or on all of a suite, and measure it there.

    Where the model has prompts, the server is tried with the texts alone and with the model's prompts before them, and
    gets what makes it agree.

    Args:
        model: folder or Hub id.
        endpoint: base address of the server.
        suite: what to measure it on; None compares the probes of `embedkit.publish.probes` only.
        data: folder of the suite's files.
        name: what the server calls the model; None: `model`.
        key_env: environment variable of the key.
        resamples: of the bootstrap.
        backoff: seconds before the first further attempt.
        say: receives lines.
        progress: show bars.

    Raises:
        RecipeError: no such model or suite, or no HTTP address.
        EmbedkitError: the server does not answer.
    """
    quiet_libraries()
    served = Served(endpoint, name or model, key_env=key_env, backoff=backoff)
    with about("MODEL", "model.base"):
        encoder = Encoder.load(made(Model, base=model))
    loaded = None if suite is None else suites.load_suite(suite, data)
    read = None if loaded is None else suites.load_data(loaded)
    parity = _tried(served, encoder)
    if loaded is not None and parity.dim == parity.served_dim:
        both: Encodes = _Both(served, encoder, parity)
        parity.scores = suites.evaluate_suite(
            both, loaded, data=read, resamples=resamples, model_name=served.url, progress=progress
        )
        say(suites.table(parity.scores))
    for line in _lines(served, parity):
        say(line)
    return parity


def _tried(served: Served, encoder: Encoder) -> Parity:
    """The probes in both roles, with and without prompts where there are any; the closer way."""
    ways = [True, False] if any(encoder.prompt(role) for role in ROLES) else [False]
    found = []
    for prompts in ways:
        parity = Parity(prompts)
        both = _Both(served, encoder, parity)
        got = {role: both.encode(TEXTS, role=role) for role in ROLES}
        found.append((parity, got))
    parity, got = min(found, key=lambda one: (one[0].dim != one[0].served_dim, one[0].worst))
    parity.notes += _notes(parity, got, encoder)
    return parity


def _notes(parity: Parity, got: dict[str, np.ndarray], encoder: Encoder) -> Iterator[str]:
    if parity.dim != parity.served_dim:
        yield f"the server's embeddings have {parity.served_dim} numbers, the model's {parity.dim}"
        return
    want = {role: encoder.encode(TEXTS, role=role) for role in ROLES}
    if parity.worst <= TOLERANCE:
        one, other = (np.linalg.norm(np.concatenate(list(part.values())), axis=1) for part in (got, want))
        if not np.allclose(one, other, rtol=1e-2):
            yield (
                f"embeddings of the server have a length around {one.mean():.3g}, the model's around "
                f"{other.mean():.3g}: cosines are the same, dot products are not"
            )
        return
    far = {role: _distances(got[role], want[role]) for role in ROLES}
    if all((values[:-1] <= TOLERANCE).all() for values in far.values()):
        yield "only the long text differs: the server cuts texts at another length"
    for role in ROLES:
        bare = encoder.st.encode(list(TEXTS), prompt="", convert_to_numpy=True, show_progress_bar=False)
        if encoder.prompt(role) and (_distances(got[role], np.asarray(bare)) <= TOLERANCE).all():
            yield f"the server's embeddings of a {role} are those without the model's prompt {encoder.prompt(role)!r}"


def _distances(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Cosine distances of rows."""
    a, b = got.astype(np.float64), want.astype(np.float64)
    norms = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
    return np.maximum(0.0, 1 - (a * b).sum(axis=1) / norms)


def _lines(served: Served, parity: Parity) -> Iterator[str]:
    where = f"{served.url} ({served.name})"
    sent = "the model's prompts before the texts" if parity.prompts else "the texts as they are"
    yield f"served       {where} gets {sent}"
    for line in parity.notes:
        yield f"note         {line}"
    if parity.same:
        yield f"parity       SAME: largest cosine distance {parity.worst:.1e} over {parity.texts:,} texts"
        return
    differs = f"; first at {parity.first}" if parity.first else ""
    yield f"parity       DIFFERENT: largest cosine distance {parity.worst:.1e} over {parity.texts:,} texts{differs}"
