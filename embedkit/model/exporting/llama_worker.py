"""llama.cpp in a process of its own, started by `embedkit.model.exporting.llama` as a script.

It takes over the process's signals, opens a port of this machine, prints, and ends the process where it is wrong: none
of that may happen to embedkit. One line of JSON in, ``[text | token ids, ...]``; one out, ``[[number, ...], ...]`` or
``{"error": ...}``. The first line out is ``"ready"``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def serve(file: str, threads: int, longest: int, parallel: int) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what llama.cpp prints is no answer
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.embedding = True
    params.embd_normalize = -1
    params.n_gpu_layers = 0
    params.n_parallel = parallel
    params.n_ctx = params.n_batch = params.n_ubatch = longest * parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.port, params.verbosity, params.warmup = 0, 1, False
    server = xllamacpp.Server(params)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer("ready")
    for line in sys.stdin:
        found = server.handle_embeddings({"input": json.loads(line), "encoding_format": "float"})
        if "data" in found:
            rows = sorted(found["data"], key=lambda row: row["index"])
            answer([row["embedding"] for row in rows])
        else:
            answer({"error": str(found.get("error", found))})


if __name__ == "__main__":
    serve(sys.argv[1], *(int(number) for number in sys.argv[2:5]))
