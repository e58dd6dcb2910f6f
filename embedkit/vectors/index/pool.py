"""faiss beside torch: their threads.

Each brings its own OpenMP. Where torch was loaded first, faiss' calls end in torch's, and both share one pool of
threads. Where faiss was first there are two, and the threads of one spin for a while when the other needs the cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def faiss_after_torch() -> Any:
    """The module ``faiss``, loaded after torch."""
    import torch  # noqa: F401, I001

    import faiss

    return faiss


@contextmanager
def taking_turns() -> Iterator[None]:
    """While products of torch and work of faiss take turns: faiss has one thread where it has a pool of its own."""
    faiss = faiss_after_torch()
    threads = faiss.omp_get_max_threads()
    if not _shared(faiss):
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _shared(faiss: Any) -> bool:
    """Whether faiss' number of threads is torch's."""
    import torch

    threads, own = torch.get_num_threads(), faiss.omp_get_max_threads()  # of this thread of the program, both
    faiss.omp_set_num_threads(threads + 1)
    changed = torch.get_num_threads() != threads
    faiss.omp_set_num_threads(threads if changed else own)
    return changed
