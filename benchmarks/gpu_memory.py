"""Peak memory of a training step on a GPU, beside what `embedkit check` foresees for it: graph kept and re-forward.

The last line is JSON: GiB measured and foreseen. A CPU has no counter of peaks: there only the estimate is printed.

    python benchmarks/gpu_memory.py [--device cuda] [--batch 256] [--precision bf16]
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

import torch
from common import arguments, placed, sentences, setup


def gib(count: float) -> float:
    """Bytes as GiB."""
    return round(count / 2**30, 2)


def main() -> None:
    parser = placed(arguments(__doc__, batch=256, steps=2, rounds=1))
    args = parser.parse_args()
    setup(args.threads, args.device)
    import sides

    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.plan import plan

    figures: dict[str, float] = {}
    texts = sentences(args.file, args.batch * args.steps)
    sizes = {"batch": args.batch, "steps": args.steps, "max_length": args.max_length}
    place = {"device": args.device, "precision": args.precision}
    for graph in ("keep", "reforward"):
        made = sides.recipe(texts, **sizes, **place, base=args.model, graph=graph)
        encoder = Encoder.load(made.model, device="cpu")
        lengths = [min(args.max_length, len(ids)) for ids in encoder.st.tokenizer(texts)["input_ids"]]
        memory = plan(made, model_config=encoder.st.config.to_dict(), tokens_per_row=statistics.mean(lengths)).memory
        activations = memory.keep if graph == "keep" else memory.reforward
        assert memory.optimizer is not None and activations is not None and memory.leaves is not None
        figures[f"{graph} foreseen GiB"] = gib(memory.optimizer + activations + memory.leaves + memory.block)
        if args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as out:
                sides.ours(made, Path(out))
            figures[f"{graph} measured GiB"] = gib(torch.cuda.max_memory_allocated())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
