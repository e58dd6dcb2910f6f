"""A search in a process of its own, with a copy of the model; it speaks with the training through files alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedkit.disk import files
from embedkit.disk.locks import hold_folder
from embedkit.errors import EmbedkitError, TrainingError
from embedkit.mining.making import PATHS, made_miner, made_strategy, tidy_store
from embedkit.mining.miner import By, Miner
from embedkit.mining.problem import Problem
from embedkit.mining.schedule import Turn
from embedkit.mining.search import read_tables, search, write_tables
from embedkit.mining.table import MinedTable

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder

JOB, MODEL, BEFORE, LOG, LEADS, FAILED = "job.json", "model", "before", "search.log", "paths.json", "failed.json"
_LAST_WORDS = 2000
_LOOK = 0.05
"""Seconds between two looks at whether a search is done."""


class Background:
    """Searches of one run in another process; process 0 of the training has one.

    Args:
        encoder: the model in training.
        sources: by the index of the source, the folder of its problem, beside those of the searches.
        settings: what `embedkit.mining.making.made` makes miners and a strategy of, as plain data.
        key: stands for what a search depends on besides model and data.
        device: where the copy of the model runs.
        threads: of the search; None: half of those there are.
    """

    def __init__(
        self,
        encoder: Encoder,
        sources: Mapping[int, Path],
        settings: Mapping[str, Any],
        key: str,
        device: str,
        threads: int | None = None,
    ) -> None:
        self._encoder, self._sources, self._settings, self._key = encoder, sources, settings, key
        self._device, self._all = device, torch.get_num_threads()
        self._own = min(threads or max(1, self._all // 2), max(1, self._all - 1))
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, folder: Path, turn: Turn, total: int, before: Mapping[int, MinedTable]) -> None:
        """A search that an interrupted run left with the same model is gone on with.

        Raises:
            WriteError: the copy cannot be written; nothing of it is left.
        """
        fingerprint = self._encoder.fingerprint()
        job = {
            "turn": asdict(turn),
            "total": total,
            "model": fingerprint,
            "trust": self._encoder.st.trust_remote_code,
            "sources": {str(source): path.name for source, path in self._sources.items()},
            "settings": {name: value for name, value in self._settings.items() if name != PATHS},
            "key": self._key,
            "device": self._device,
            "threads": self._own,
        }
        if files.json_in(folder / JOB) == json.loads(json.dumps(job)):
            return
        shutil.rmtree(folder, ignore_errors=True)
        try:
            files.make_folder(folder)
            staging = folder / f"{files.OURS}-{MODEL}"
            self._encoder.save(staging)
            files.publish(staging, folder / MODEL)
            write_tables(folder / BEFORE, before)
            files.write_json(folder / JOB, job)
        except EmbedkitError:
            shutil.rmtree(folder, ignore_errors=True)  # a disk that is full has no room for half a copy
            raise

    def start(self, folder: Path) -> None:
        """Begin; one search runs at a time.

        Raises:
            TrainingError: the copy of the model is gone.
            WriteError: the folder cannot be written.
        """
        self.stop()
        (folder / FAILED).unlink(missing_ok=True)
        if not (folder / JOB).is_file() or not (folder / MODEL).is_dir():
            what = "the copy of the model that a search under way needs is gone"
            raise TrainingError(what, str(folder), "resume from an older checkpoint, or train anew")
        files.write_text(folder / LEADS, json.dumps(self._settings[PATHS]))  # a run that goes on may have been moved
        command = [sys.executable, "-m", "embedkit.mining.background", str(folder), str(os.getpid())]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._own), "TOKENIZERS_PARALLELISM": "false"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # for a recipe's plug-ins
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(name, None)  # it is no member of the training's group
        with files.writing(folder / LOG):
            opened = (folder / LOG).open("ab")
        with opened as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def wait(self, folder: Path) -> None:
        process = self._process
        if process is None:
            raise TrainingError("no search is under way", str(folder), "resume the run")
        code = process.wait()
        self._process = None
        if code:
            cure = "resume the run once the cause is mended; or set mining.mode: sync"
            if known := files.json_in(folder / FAILED):
                what, where = f"the search for negatives failed: {known['what']}", known["where"] or str(folder)
                raise TrainingError(what, where, f"{known['cure']}; then {cure}" if known["cure"] else cure)
            words = ""
            with suppress(OSError):
                words = (folder / LOG).read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip()
            raise TrainingError(
                f"the search for negatives failed with exit code {code}: {words or 'it left no word'}",
                str(folder / LOG),
                cure,
            )

    def threads(self, searching: bool) -> None:
        """While a search is under way, whether it is done or not, training has the rest: sums are rounded alike."""
        if self._device == "cpu":
            torch.set_num_threads(max(1, self._all - self._own) if searching else self._all)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main(arguments: Sequence[str]) -> None:
    """The other process: ``FOLDER PARENT``; it ends when the process PARENT does."""
    folder, parent = Path(arguments[0]), int(arguments[1])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(OSError):
        os.nice(5)  # where cores are short, training goes first
    with hold_folder(folder, "searching for negatives", wait=True):
        try:
            _work(folder, json.loads((folder / JOB).read_bytes()))
        except EmbedkitError as error:
            known = {name: getattr(error, name) for name in ("what", "where", "cure")}
            with suppress(EmbedkitError):
                files.write_text(folder / FAILED, json.dumps(known))
            sys.exit(str(error))


def _work(folder: Path, job: dict[str, Any]) -> None:
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model

    torch.set_num_threads(job["threads"])
    settings = {**job["settings"], PATHS: json.loads((folder / LEADS).read_bytes())}
    model = Model(base=str(folder / MODEL), trust_remote_code=job["trust"])
    encoder = Encoder.load(model, device=job["device"])
    if encoder.fingerprint() != job["model"]:
        raise TrainingError("the copy of the model is not what was written", str(folder / MODEL), "train anew")
    by = By.of(encoder, batch_tokens=settings["batch_tokens"])
    miners: dict[int, Miner] = {
        int(source): made_miner(Problem.read(folder.parent / name), settings, folder.parent, str(encoder.device))
        for source, name in job["sources"].items()
    }
    strategy, before = made_strategy(settings), read_tables(folder / BEFORE, miners)
    search(folder, Turn(**job["turn"]), job["total"], miners, strategy, by, before, job["key"])
    tidy_store(folder.parent, by)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK * 10)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
