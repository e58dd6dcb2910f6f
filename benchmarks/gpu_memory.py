"""Peak memory of a training step on a GPU, beside what `embedkit check` foresees for it: graph kept and re-forward.

The last line is JSON: GiB measured and foreseen. A CPU has no counter of peaks: there only the estimate is printed.

    python benchmarks/gpu_memory.py [--device cuda] [--batch 256] [--precision bf16]
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import arguments, placed, sentences, setup


def main() -> None:
    parser = placed(arguments(__doc__, batch=256, steps=2, rounds=1))
    args = parser.parse_args()
    setup(args.threads)
    import sides

    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.memory import ADAM_BYTES, activation_bytes

    figures: dict[str, Any] = {}
    texts = sentences(args.file, args.batch * args.steps)
    for graph in ("keep", "reforward"):
        made = sides.recipe(
            texts,
            batch=args.batch,
            steps=args.steps,
            max_length=args.max_length,
            base=args.model,
            device=args.device,
            precision=args.precision,
            graph=graph,
        )
        encoder = Encoder.load(made.model, device="cpu")
        config = encoder.st.config
        lengths = [min(args.max_length, len(ids)) for ids in encoder.st.tokenizer(texts)["input_ids"]]
        batch = sorted(lengths)[-args.batch :]
        tokens = 2 * sum(batch) if graph == "keep" else made.train.tokens_per_micro_batch
        sizes = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, max(batch))
        foreseen = activation_bytes(tokens, *sizes, args.precision)
        foreseen += ADAM_BYTES * sum(p.numel() for p in encoder.st.parameters())
        figures[f"{graph} foreseen GiB"] = round(foreseen / 2**30, 2)
        if args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as out:
                sides.ours(made, Path(out))
            figures[f"{graph} measured GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
