"""A search whose documents are shared out over a pool: a task has a shard of them and all queries."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.mining.shares import merged
from embedkit.recipe.mining import Search
from embedkit.spread.pool import Pool
from embedkit.terminal.progress import progress as bar
from embedkit.vectors.index.build import IndexReport, build
from embedkit.vectors.index.exact import Method
from embedkit.vectors.index.found import Found
from embedkit.vectors.shards import mapped, write_header
from embedkit.vectors.view import View

FORMAT = 1
LEAST, MOST = 65_536, 256
"""Documents of a shard, and shards: what is merged grows with their number."""
BLOCK = 4096
"""Queries searched at once."""
PAIR = np.dtype([("row", "<i8"), ("score", "<f4")])


@dataclass(frozen=True)
class Spread:
    """What a search over a pool needs.

    Attributes:
        pool: the processes.
        folder: of what the shards gave, which every machine sees; a search that was cut off finds there what is done.
    """

    pool: Pool
    folder: Path


class SpreadIndex:
    """The best documents of all shards, for queries by their places.

    Attributes:
        report: rows and bytes in all, the lowest recall of a shard.
    """

    def __init__(self, parts: Sequence[Path], report: IndexReport) -> None:
        self._parts, self.report = [mapped(part) for part in parts], report

    def found(self, queries: View, k: int, size: int) -> Iterator[Found]:
        """The k best of all queries, `size` of them at a time."""
        for start in range(0, len(queries), size):
            own = [part[start : start + size] for part in self._parts]
            yield merged([Found.of(part["row"], part["score"]) for part in own], k)


def shards_of(count: int) -> list[range]:
    """Shares of equal size but for one, the same on every cluster."""
    number = max(1, min(MOST, count // LEAST))
    return [range(count * i // number, count * (i + 1) // number) for i in range(number)]


def spread_search(
    spread: Spread,
    documents: View,
    queries: View,
    probe: np.ndarray,
    search: Search,
    names: tuple[str, str],
    *,
    k: int,
    device: str = "auto",
    method: Method | None = None,
    progress: bool = False,
) -> SpreadIndex:
    """Search every shard for all queries; what a search that was cut off left is not made again.

    Args:
        spread: the pool, and where results stand.
        documents, queries: their vectors.
        probe: queries that the recall is measured on.
        search: index, recall, memory of a process, seed.
        names: what stands for the contents of queries and documents.
        k: documents a query and shard.
        device: of exact search.
        method: of exact search, see `embedkit.vectors.index.exact.Exact`.
        progress: show a bar.

    Raises:
        DataError: vectors that do not fit or are not finite, a recall that is not reached.
        WriteError: results cannot be written.
    """
    began = time.perf_counter()
    files.make_folder(spread.folder)
    settings = {name: getattr(search, name) for name in ("index", "recall", "ram_gb", "seed")}
    decides = [FORMAT, *names, len(documents), documents.dim, k, settings, device, method]
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:24]
    rows = shards_of(len(documents))
    parts = [spread.folder.absolute() / f"{key}-{i:05d}-of-{len(rows):05d}.npy" for i in range(len(rows))]
    missing = [i for i, part in enumerate(parts) if not part.exists()]
    whole = queries.part(range(len(queries)))
    make = _Searches(whole, probe, settings, k, device, method)
    with bar("searching", len(parts), "shards", show=progress) as shown:
        shown.skip(len(parts) - len(missing))
        tasks = [(parts[i], documents.part(rows[i]), rows[i].start) for i in missing]
        for _ in spread.pool.map(make, tasks, gpu=device != "cpu"):
            shown.advance(1)
    reports = [_report_of(part) for part in parts]
    return SpreadIndex(parts, _in_all(reports, time.perf_counter() - began))


@dataclass(frozen=True)
class _Searches:
    """Makes, in another process, what searches a shard and writes what it found."""

    queries: View
    probe: np.ndarray
    settings: dict[str, Any]
    k: int
    device: str
    method: Method | None

    def __call__(self) -> Any:
        from embedkit.model.running.encoder import pick_device

        return lambda task: self._search(*task, device=pick_device(self.device).type)

    def _search(self, path: Path, rows: View, first: int, *, device: str) -> None:
        settings = {("kind" if name == "index" else name): value for name, value in self.settings.items()}
        index = build(rows, self.probe, searches=len(self.queries), device=device, method=self.method, **settings)
        k = min(self.k, len(rows))
        with files.new_file(path) as file:
            write_header(file, PAIR, (len(self.queries), k))
            for found in index.found(self.queries, k, BLOCK):
                pairs = np.empty(found.rows.shape, PAIR)
                pairs["row"] = np.where(found.rows < 0, found.rows, found.rows + first)
                pairs["score"] = found.scores
                file.write(pairs.tobytes())
            files.write_text(_beside(path), json.dumps(asdict(index.report)))  # before the other has its name


def _beside(part: Path) -> Path:
    return part.with_suffix(".json")


def _report_of(part: Path) -> IndexReport:
    try:
        return IndexReport(**from_json(_beside(part).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        what = f"what a shard gave cannot be read: {error}"
        raise DataError(what, str(part), "remove it and its .npy file, and start again") from error


def _in_all(reports: Sequence[IndexReport], seconds: float) -> IndexReport:
    worst = min(reports, key=lambda report: report.recall)
    kinds = "+".join(dict.fromkeys(report.kind for report in reports))
    rows, size = (sum(getattr(report, name) for report in reports) for name in ("rows", "bytes"))
    return replace(worst, kind=kinds, rows=rows, bytes=size, seconds=seconds)
