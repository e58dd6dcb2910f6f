"""A served model against the model: a real server on this machine, with the faults that servers have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.run import evaluate, evaluate_served
from embedkit.run.served import Parity, Served
from tests.cli.conftest import Done, embedkit  # noqa: F401
from tests.publish.conftest import trained  # noqa: F401

KEY = "sk-abcdEFGH1234567890abcd"


class Server:
    """Serves a folder's model in the form of OpenAI.

    Attributes:
        change: what the server does to texts before, and to embeddings after the model.
        statuses: answers before it serves.
        asked: bodies of requests.
    """

    def __init__(self, folder: Path) -> None:
        self.model = SentenceTransformer(str(folder), device="cpu")
        self.before: Callable[[list[str]], list[str]] = lambda texts: texts
        self.after: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors
        self.body: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body
        self.statuses: list[int] = []
        self.asked: list[dict[str, Any]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Silent."""

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.asked.append(asked | {"path": self.path, "key": self.headers.get("Authorization")})
                status = owner.statuses.pop(0) if owner.statuses else 200
                answer: dict[str, Any] = {"error": f"not now, {self.headers.get('Authorization')}"}
                if status == 200:
                    found = owner.after(
                        owner.model.encode(owner.before(asked["input"]), prompt="", show_progress_bar=False)
                    )
                    data = [{"index": i, "embedding": row.tolist()} for i, row in enumerate(found)]
                    answer = owner.body({"object": "list", "data": data[::-1], "model": asked["model"]})
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server(trained: Path) -> Iterator[Server]:  # noqa: F811
    made = Server(trained / "model")
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def go(server: Server, trained: Path, said: list[str]) -> Callable[..., Parity]:  # noqa: F811
    def ask(**options: Any) -> Parity:
        given = {"backoff": 0.01, "progress": False, "say": lambda line: said.append(str(line))}
        return evaluate_served(str(trained / "model"), server.url, **{**given, **options})

    return ask


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_server_without_prompts_gets_the_models(go: Callable[..., Parity], server: Server, said: list[str]) -> None:
    found = go(name="faq")
    assert found.same and found.prompts and found.worst < 1e-5 and found.notes == []
    assert server.asked[0]["path"] == "/v1/embeddings" and server.asked[0]["model"] == "faq"
    assert {a["key"] for a in server.asked} == {None}
    assert any(line.startswith("parity       SAME") for line in said)


def test_a_server_with_prompts_of_its_own_gets_the_texts(go: Callable[..., Parity], server: Server) -> None:
    server.before = lambda texts: [f"query: {text}" for text in texts]  # right for queries only
    found = go()
    assert not found.same and not found.prompts and found.first.startswith("document: ")


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        ("pooling", ""),
        ("long", "only the long text differs"),
        ("size", "the server's embeddings have 8 numbers, the model's 32"),
        ("prompt", "are those without the model's prompt 'query: '"),
    ],
)
def test_what_gets_lost_is_named(
    go: Callable[..., Parity],
    server: Server,
    said: list[str],
    fault: str,
    note: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault == "pooling":
        server.model[1].pooling_mode = "cls"
    elif fault == "long":
        monkeypatch.setattr("embedkit.run.served.TEXTS", ("bade fi", "go ku bade", "badefi " * 40))
        server.model.max_seq_length = 24
    elif fault == "size":
        server.after = lambda vectors: vectors[:, :8]
    else:
        strip = ("query: ", "passage: ")
        server.before = lambda texts: [t.removeprefix(strip[0]).removeprefix(strip[1]) for t in texts]
    found = go()
    assert not found.same and note in "\n".join(found.notes)
    assert any(line.startswith("parity       DIFFERENT") for line in said)
    assert fault == "size" or found.first


def test_normalised_embeddings_are_the_same_with_a_note(go: Callable[..., Parity], server: Server) -> None:
    server.after = lambda vectors: vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = go()
    assert found.same and "have a length around 1," in found.notes[0]


def test_half_precision_is_the_same(go: Callable[..., Parity], server: Server) -> None:
    server.after = lambda vectors: vectors.astype(np.float16).astype(np.float32)
    found = go()
    assert found.same and 0 < found.worst < 1e-4


def test_a_suite_is_measured_at_the_server(
    go: Callable[..., Parity],
    server: Server,
    trained: Path,  # noqa: F811
    said: list[str],
) -> None:
    suite = trained.parent / "suite.yaml"
    suite.write_text(
        "name: mine\ntasks:\n"
        "  - {type: sts, name: A, files: [sts.tsv]}\n  - {type: retrieval, name: dev, folder: beir}\n"
    )
    found = go(suite=str(suite), resamples=100)
    own = evaluate(str(trained / "model"), str(suite), resamples=100, say=lambda line: None, progress=False)
    assert found.same and found.texts > 40 and found.scores is not None
    for served, task in zip(found.scores.tasks, own.tasks, strict=True):
        assert served.metrics == pytest.approx(task.metrics, abs=1e-3)
    assert found.scores.fingerprint != own.fingerprint


def test_a_server_that_is_busy_is_asked_again(go: Callable[..., Parity], server: Server) -> None:
    server.statuses = [503, 429]
    assert go().same


@pytest.mark.parametrize(
    ("status", "message"), [(401, "HTTP 401"), (404, "HTTP 404"), (500, "no answer after 5 attempts: HTTP 500")]
)
def test_a_server_that_refuses(
    go: Callable[..., Parity], server: Server, status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVED_KEY", KEY)
    server.statuses = [status] * 9
    with pytest.raises(EmbedkitError, match=message) as caught:
        go(key_env="SERVED_KEY")
    assert server.asked[0]["key"] == f"Bearer {KEY}" and KEY not in str(caught.value) and caught.value.cure


@pytest.mark.parametrize(
    "change",
    [
        lambda body: {"data": body["data"][:-1]},
        lambda body: {"data": "none"},
        lambda body: {},
        lambda body: {"data": [entry | {"embedding": []} for entry in body["data"]]},
        lambda body: {"data": [entry | {"embedding": ["x"]} for entry in body["data"]]},
        lambda body: {"data": [entry | {"embedding": [None, 1.0]} for entry in body["data"]]},
        lambda body: {"data": [entry | {"index": 0} for entry in body["data"]]},
    ],
)
def test_an_answer_that_is_none(go: Callable[..., Parity], server: Server, change: Any) -> None:
    server.body = change
    with pytest.raises(EmbedkitError, match="the answer holds no embeddings"):
        go()


def test_no_server_and_no_address() -> None:
    with pytest.raises(EmbedkitError, match="no answer after 5 attempts"):
        Served("http://127.0.0.1:9/v1", "x", backoff=0.0).encode(["a"])
    with pytest.raises(RecipeError, match="not an HTTP address"):
        Served("localhost", "x")


def test_the_command(embedkit: Callable[..., Done], server: Server, trained: Path) -> None:  # noqa: F811
    model = str(trained / "model")
    suite = trained.parent / "one.yaml"
    suite.write_text("name: one\ntasks: [{type: sts, name: A, files: [sts.tsv]}]\n")
    same = embedkit("eval", model, "--suite", str(suite), "--endpoint", server.url, "--resamples", "100")
    assert same.code == 0 and "parity       SAME" in same.out and "spearman" in same.out
    server.model[1].pooling_mode = "cls"
    other = embedkit("eval", model, "--suite", str(suite), "--endpoint", server.url, "--resamples", "100")
    assert other.code == 1 and "parity       DIFFERENT" in other.out and "first at query: " in other.out
