"""A pool of Ray Data actors. The only module that knows Ray."""

from __future__ import annotations

import importlib.util
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embedkit.errors import EmbedkitError
from embedkit.spread.pool import Make

INSTALL = 'pip install "embedkit-train[ray]"'
CORES = 2
"""Of an actor without a GPU."""
AGAIN = 3
"""Times that an actor that died is started again, and its task tried again: one that is always killed (too little
memory) must not go on for ever."""


class RayPool:
    """Actors on the cluster at ``RAY_ADDRESS``; without one, on a cluster of this machine that ends with the pool.

    Raises:
        EmbedkitError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise EmbedkitError("engine ray needs Ray, which is not installed", "--engine", INSTALL)
        import ray
        import ray.data

        self._ray, self._own = ray, not ray.is_initialized()
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told as an error
        if self._own:
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise EmbedkitError(f"no Ray cluster: {error}", "--engine", "check RAY_ADDRESS, or unset it") from error

    @property
    def words(self) -> str:
        """Machines, cores, GPUs and memory of the cluster."""
        has = self._ray.cluster_resources()
        machines = sum(1 for node in self._ray.nodes() if node["Alive"])
        parts = [f"{machines} machine{'s' if machines > 1 else ''}", f"{int(has.get('CPU', 0))} cores"]
        parts += [f"{int(has.get('GPU', 0))} GPUs", f"{has.get('memory', 0) / 2**30:.0f} GiB of memory"]
        return f"ray: {', '.join(parts)}"

    def map(self, make: Make, tasks: Sequence[Any], *, gpu: bool = False) -> Iterator[tuple[int, Any]]:
        """See `embedkit.spread.pool.Pool`."""
        if not tasks:
            return
        ray, has = self._ray, self._ray.cluster_resources()
        data, pickled = ray.data, ray.cloudpickle
        context = data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        gpus, cores = int(has.get("GPU", 0)) if gpu else 0, max(1, int(has.get("CPU", 1)))
        each = min(CORES, cores)
        most = gpus or max(1, cores // each)
        needs: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1} if gpus else {"num_cpus": each}
        rows = [{"number": number, "task": pickled.dumps(task)} for number, task in enumerate(tasks)]
        found = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(pickled.dumps(make),),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(most, len(rows))),
            ray_remote_args_fn=lambda: {"max_restarts": AGAIN, "max_task_retries": AGAIN},
            **needs,
        )
        try:
            for row in found.iter_rows():
                error, result = pickle.loads(row["result"])  # noqa: S301 (of our own actor)
                if error is not None:
                    raise error
                yield int(row["number"]), result
        except ray.exceptions.RayError as error:
            what = f"a task could not be done: {_last_line(error)}"
            raise EmbedkitError(what, "--engine ray", "what is done is kept: mend the cause and start again") from error

    def close(self) -> None:
        """End the cluster, if it began with the pool."""
        if self._own:
            self._ray.shutdown()


class _Actor:
    """Does tasks one by one; an error that has a cure travels as a result, or Ray would wrap it."""

    def __init__(self, make: bytes) -> None:
        from ray import cloudpickle

        self._make, self._loads = make, cloudpickle.loads
        self._do: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        error = result = None
        try:
            if self._do is None:
                self._do = self._loads(self._make)()
            result = self._do(self._loads(batch["task"][0]))
        except EmbedkitError as known:
            error = known
        return {"number": batch["number"], "result": [pickle.dumps((error, result))]}


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
