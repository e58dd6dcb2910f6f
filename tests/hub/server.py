"""A Hub on this machine: the part of its protocol that a push and a download of a model speak, with faults on demand.

Repositories are lists of commits, a commit is a mapping of files; large files live in a store by SHA-256. With a folder
for `Hub.chunks` they go by Xet: the client cuts them into chunks and writes these to that folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = 10_000
"""Bytes from which a file goes the way of large ones."""
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "other"}
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass
class Repo:
    """Commits by id, and branches."""

    private: bool
    commits: dict[str, dict[str, bytes | str]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes | str], message: str, ref: str) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}{message}".encode()).hexdigest()
        self.commits[oid], self.refs[ref] = files, oid
        self.messages.append(message)
        return oid


@dataclass
class Fault:
    """What goes wrong: the next `times` requests whose line fits `pattern` get `status`, or lose the connection (0),
    after `after` bytes of their body."""

    pattern: str
    status: int
    times: int = 1
    after: int | None = None
    words: str = ""


class Hub:
    """The state of the server, and the server.

    Attributes:
        tokens: token -> the name behind it and the owners that it may write for.
        requests: lines of what was asked, ``METHOD path``.
        chunks: the folder of Xet's store; None: large files are put whole.
        chunked: SHA-256 of a file -> its hash in Xet, which the real Hub learns from the store.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, set[str]]] = {}
        self.repos: dict[str, Repo] = {}
        self.store: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.before: Callable[[str], None] | None = None
        self.chunks: Path | None = None
        self.chunked: dict[str, str] = {}
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Hub:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fail(self, pattern: str, status: int, times: int = 1, *, after: int | None = None, words: str = "") -> None:
        self.faults.append(Fault(pattern, status, times, after, words))

    def asked(self, pattern: str) -> int:
        return sum(1 for line in self.requests if re.search(pattern, line))

    def files(self, repo: str, ref: str = "main") -> dict[str, bytes]:
        """What a repository holds."""
        found = self.repos[repo]
        oid = found.refs.get(ref, ref)
        return {name: self.content(value) for name, value in found.commits[oid].items()}

    def content(self, value: bytes | str) -> bytes:
        return value if isinstance(value, bytes) else self.store[value]

    def add(self, repo: str, files: dict[str, bytes] | None = None, *, private: bool = True) -> Repo:
        made = self.repos[repo] = Repo(private)
        made.commit({".gitattributes": ATTRIBUTES}, "initial commit", "main")
        if files:
            kept: dict[str, bytes | str] = {".gitattributes": ATTRIBUTES}
            for name, content in files.items():
                kept[name] = self.keep(content) if len(content) >= LARGE else content
            made.commit(kept, "before", "main")
        return made

    def fetch(self, oid: str) -> bool:
        """Take a file out of Xet's store, where it is."""
        if self.chunks is None or oid not in self.chunked:
            return False
        import hf_xet  # not on every platform

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{self.chunks}") as group:
                group.start_download_file(hf_xet.XetFileInfo(self.chunked[oid], None), str(file))
            return self.keep(file.read_bytes()) == oid

    def keep(self, content: bytes) -> str:
        oid = hashlib.sha256(content).hexdigest()
        self.store[oid] = content
        return oid


class _Handler(BaseHTTPRequestHandler):
    """One request at a time of one connection."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    # Plumbing ------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        line = f"{self.command} {unquote(parts.path)}"
        with self.hub.lock:
            self.hub.requests.append(line)
        if self.hub.before is not None:
            self.hub.before(line)
        fault = self._fault(line)
        body = self._body(None if fault is None else fault.after)
        if fault is not None:
            if fault.status:
                self.close_connection = True
                self._send(fault.status, {"error": fault.words or "fault"}, {"X-Error-Message": fault.words or "fault"})
            else:
                self._drop()
            return
        with self.hub.lock:
            for pattern, method in _ROUTES:
                found = re.fullmatch(pattern, line)
                if found:
                    getattr(self, method)(body, *(unquote(part) for part in found.groups()))
                    return
        self._send(404, {"error": f"no such address: {line}"})

    def _fault(self, line: str) -> Fault | None:
        with self.hub.lock:
            for fault in self.hub.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault
        return None

    def _body(self, most: int | None) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                if most is not None and len(body) >= most:
                    return body
            self.rfile.readline()
            return body
        size = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(size if most is None else min(size, most))

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)
        self.wfile.flush()

    def _who(self) -> tuple[str, set[str]] | None:
        given = self.headers.get("Authorization", "")
        known = self.hub.tokens.get(given.removeprefix("Bearer "))
        if known is None:
            said = "Invalid credentials in Authorization header" if given else "Invalid username or password."
            self._send(401, {"error": said}, {"X-Error-Message": said})
        return known

    def _may_write(self, owner: str) -> bool:
        who = self._who()
        if who is None:
            return False
        if owner not in who[1]:
            said = f"You don't have the rights to write under the namespace {owner}"
            self._send(403, {"error": said}, {"X-Error-Message": said})
            return False
        return True

    def _repo(self, name: str) -> Repo | None:
        """The repository, where there is one that this token may see."""
        found = self.hub.repos.get(name)
        who = self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if found is not None and found.private and (who is None or name.partition("/")[0] not in who[1]):
            found = None
        if found is None:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return found

    def _at(self, repo: Repo, rev: str) -> str | None:
        oid = repo.refs.get(rev, rev)
        if oid in repo.commits:
            return oid
        self._send(404, {"error": f"Invalid rev id: {rev}"}, {"X-Error-Code": "RevisionNotFound"})
        return None

    # Answers -------------------------------------------------------------------------------------------------

    def whoami(self, body: bytes) -> None:
        who = self._who()
        if who is not None:
            self._send(200, {"type": "user", "name": who[0], "orgs": [{"name": org} for org in sorted(who[1])]})

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        owner = asked["organization"] or ""
        if not self._may_write(owner):
            return
        name = f"{owner}/{asked['name']}"
        if name in self.hub.repos:
            self._send(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
            return
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.add(name, private=bool(private))
        self._send(200, {"url": f"{self.hub.url}/{name}", "id": name})

    def validate(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        match = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
        errors, found = [], {}
        try:
            found = yaml.safe_load(match[1]) if match else {}
        except yaml.YAMLError as error:
            errors.append({"message": f"YAML: {error}"})
        if found.get("license") not in (None, *LICENSES):
            errors.append({"message": f'"license" must be one of [{", ".join(sorted(LICENSES))}]'})
        if not isinstance(found.get("tags", []), list):
            errors.append({"message": '"tags" must be an array'})
        warned = [] if "license" in found else [{"message": "no license"}]
        self._send(400 if errors else 200, {"errors": errors, "warnings": warned})

    def info(self, body: bytes, name: str, rev: str = "main") -> None:
        repo = self._repo(name)
        oid = None if repo is None else self._at(repo, rev)
        if repo is None or oid is None:
            return
        siblings = [{"rfilename": path} for path in repo.commits[oid]]
        about = {"_id": "0", "id": name, "modelId": name, "sha": oid, "private": repo.private, "siblings": siblings}
        self._send(200, about | {"tags": [], "downloads": 0, "likes": 0})

    def tree(self, body: bytes, name: str, rev: str, _: str = "") -> None:
        repo = self._repo(name)
        oid = None if repo is None else self._at(repo, rev)
        if repo is None or oid is None:
            return
        entries = []
        for path, value in repo.commits[oid].items():
            content = self.hub.content(value)
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git(content)}
            if isinstance(value, str):
                entry["lfs"] = {"oid": value, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        self._send(200, entries)

    def branch(self, body: bytes, name: str, branch: str) -> None:
        repo = self._repo(name)
        if repo is None or not self._may_write(name.partition("/")[0]):
            return
        if branch in repo.refs:
            self._send(409, {"error": "reference exists already"})
            return
        repo.refs[branch] = repo.refs["main"]
        self._send(200, {})

    def preupload(self, body: bytes, name: str, rev: str) -> None:
        repo = self._repo(name)
        oid = None if repo is None else self._at(repo, rev)
        if repo is None or oid is None or not self._may_write(name.partition("/")[0]):
            return
        there = repo.commits[oid]
        answer = []
        for file in json.loads(body)["files"]:
            large = file["size"] >= LARGE or file["path"].endswith(".safetensors")
            entry = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            value = there.get(file["path"])
            if value is not None:
                entry["oid"] = value if isinstance(value, str) else _git(value)
            answer.append(entry)
        self._send(200, {"files": answer})

    def batch(self, body: bytes, name: str) -> None:
        if not self._may_write(name.partition("/")[0]):
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.store:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.url}/store/{asked['oid']}", "header": {}},
                    "verify": {"href": f"{self.hub.url}/verify/{asked['oid']}", "header": {}},
                }
            objects.append(entry)
        self._send(200, {"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(400, {"error": "another content than announced"})
            return
        self.hub.store[oid] = body
        self._send(200, {})

    def verify(self, body: bytes, oid: str) -> None:
        asked = json.loads(body)
        good = len(self.hub.store.get(oid, b"")) == asked["size"]
        self._send(200 if good else 404, {})

    def xet_token(self, body: bytes, name: str, kind: str, rev: str) -> None:
        if self.hub.chunks is None:
            self._send(404, {"error": "no such address"})
        elif self._repo(name) is not None and (kind == "read" or self._may_write(name.partition("/")[0])):
            where, until = f"local://{self.hub.chunks}", str(int(time.time()) + 600)
            names = {"X-Xet-Cas-Url": where, "X-Xet-Access-Token": "short-lived", "X-Xet-Token-Expiration": until}
            told = {"casUrl": where, "accessToken": "short-lived", "exp": int(until)}
            self._send(200, told, names)

    def commit(self, body: bytes, name: str, rev: str) -> None:
        repo = self._repo(name)
        oid = None if repo is None else self._at(repo, rev)
        if repo is None or oid is None or not self._may_write(name.partition("/")[0]):
            return
        lines = [json.loads(line) for line in body.decode().splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent is not None and parent != oid:
            self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        files = dict(repo.commits[oid])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.store and not self.hub.fetch(value["oid"]):
                    self._send(400, {"error": f"LFS object {value['oid']} is missing"})
                    return
                files[value["path"]] = value["oid"]
            elif value["path"] not in files:
                self._send(404, {"error": "A file with this name doesn't exist"}, {"X-Error-Code": "EntryNotFound"})
                return
            else:
                del files[value["path"]]
        asked = self.query.get("create_pr") == ["1"]
        number = 1 + sum(1 for ref in repo.refs if ref.startswith("refs/pr/"))
        made = repo.commit(files, lines[0]["value"]["summary"], f"refs/pr/{number}" if asked else rev)
        answer = {"success": True, "commitOid": made, "commitUrl": f"{self.hub.url}/{name}/commit/{made}"}
        if asked:
            answer["pullRequestUrl"] = f"{self.hub.url}/{name}/discussions/{number}"
        self._send(200, answer)

    def resolve(self, body: bytes, name: str, rev: str, path: str) -> None:
        repo = self._repo(name)
        oid = None if repo is None else self._at(repo, rev)
        if repo is None or oid is None:
            return
        value = repo.commits[oid].get(path)
        if value is None:
            self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = self.hub.content(value)
        etag = value if isinstance(value, str) else _git(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": oid, "Content-Length": str(len(content))}
        if etag in self.hub.chunked:
            route = f"{self.hub.url}/api/models/{name}/xet-read-token/{oid}"
            headers |= {"X-Xet-Hash": self.hub.chunked[etag], "X-Xet-Refresh-Route": route}
        self._send(200, content, headers)


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_NAME = r"([^/]+/[^/]+)"
_ROUTES = (
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"GET /api/models/{_NAME}", "info"),
    (rf"GET /api/models/{_NAME}/revision/(.+)", "info"),
    (rf"GET /api/models/{_NAME}/tree/(refs/pr/\d+|[^/]+)(?:/.*)?", "tree"),
    (rf"POST /api/models/{_NAME}/branch/(.+)", "branch"),
    (rf"POST /api/models/{_NAME}/preupload/(.+)", "preupload"),
    (rf"POST /{_NAME}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /store/(\w+)", "put"),
    (r"POST /verify/(\w+)", "verify"),
    (rf"GET /api/models/{_NAME}/xet-(read|write)-token/(.+)", "xet_token"),
    (rf"POST /api/models/{_NAME}/commit/(.+)", "commit"),
    (rf"(?:GET|HEAD) /{_NAME}/resolve/(refs/pr/\d+|[^/]+)/(.+)", "resolve"),
)
