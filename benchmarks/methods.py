"""Methods that sentence-transformers has too: its trainer with its loss against embedkit's recipe, side by side.

all-MiniLM-L6-v2 on the CPU, both whole trainers in turn, dropout as in training. Methods that it does not have are
timed against plain SimCSE by `make compare`.

    python benchmarks/methods.py [--methods simcse,gist,tension,tsdae] [--file sentences.txt] [--rounds 2] [--steps 4]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import alternate, arguments, console, ratio, sentences, setup


@dataclass(frozen=True)
class Method:
    """How each side does it.

    Attributes:
        blocks: of embedkit's recipe.
        model: of its model block.
        make_loss: ``model -> loss`` of sentence-transformers; None for its ranking loss.
        columns: ``texts -> columns`` of its data; None gives each text twice.
    """

    blocks: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    make_loss: Callable[[Any], Any] | None = None
    columns: Callable[[list[str]], dict[str, list[Any]]] | None = None


def guided(model: Any) -> Any:
    from sentence_transformers import SentenceTransformer, losses

    from embedkit.model.reading.resolve import resolve
    from embedkit.recipe.schema import DEFAULT_MODEL

    return losses.GISTEmbedLoss(
        model, SentenceTransformer(resolve(DEFAULT_MODEL).target, device="cpu"), temperature=0.05
    )


def tension(model: Any) -> Any:
    from sentence_transformers import losses

    return losses.ContrastiveTensionLoss(model)


def denoising(model: Any) -> Any:
    from sentence_transformers import losses

    return losses.DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True)


def tension_pairs(texts: list[str]) -> dict[str, list[Any]]:
    """One equal pair for seven of different sentences."""
    rng = random.Random(0)
    other = [text if i % 8 == 0 else rng.choice(texts) for i, text in enumerate(texts)]
    return {"a": texts, "b": other, "label": [int(a == b) for a, b in zip(texts, other, strict=True)]}


def damaged(texts: list[str]) -> dict[str, list[Any]]:
    """Each text without about 60 % of its words, and the text."""
    rng = random.Random(0)
    kept = [" ".join(w for w in text.split() if rng.random() > 0.6) or text.split()[0] for text in texts]
    return {"damaged": kept, "original": texts}


METHODS = {
    "simcse": Method(),
    "gist": Method(
        blocks={
            "guide": {"model": "sentence-transformers/all-MiniLM-L6-v2"},
            "objective": {
                "name": "infonce",
                "temperature": 0.05,
                "directions": ["q-d", "q-q", "d-d"],
                "same_side": "positives",
                "guide": "absolute",
            },
        },
        make_loss=guided,
    ),
    "tension": Method(
        blocks={"views": {"pairing": "tension"}, "objective": {"name": "contrastive_tension"}},
        model={"towers": 2, "dropout": 0.0},
        make_loss=tension,
        columns=tension_pairs,
    ),
    "tsdae": Method(
        blocks={
            "views": {"count": 1, "transforms": [[{"name": "delete_words", "rate": 0.6}]]},
            "objective": {"name": "none"},
            "auxiliary": [{"name": "tsdae"}],
        },
        make_loss=denoising,
        columns=damaged,
    ),
}


def measure(name: str, args: argparse.Namespace) -> float:
    """The ratio of one method, printed with both medians."""
    import sides

    method = METHODS[name]
    texts = sentences(args.file, args.batch * (args.steps + 1))
    made = sides.recipe(
        texts,
        batch=args.batch,
        steps=args.steps + 1,
        max_length=args.max_length,
        blocks=method.blocks,
        model=method.model,
    )
    columns = method.columns(texts) if method.columns else None
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp)
        seconds = alternate(
            {
                "sentence-transformers": lambda: sides.rival(made, out, make_loss=method.make_loss, columns=columns),
                "embedkit": lambda: sides.ours(made, out),
            },
            args.rounds,
        )
    slow, fast = (statistics.median(seconds[side]) for side in ("sentence-transformers", "embedkit"))
    console.print(f"{name}: sentence-transformers {slow * 1e3:.0f} ms, embedkit {fast * 1e3:.0f} ms per update")
    return slow / fast


def main() -> None:
    parser = arguments(__doc__, batch=64, steps=4, rounds=2)
    parser.add_argument("--methods", default=",".join(METHODS), help="with commas (default: %(default)s)")
    args = parser.parse_args()
    setup(args.threads)
    ratios = {name: measure(name, args) for name in args.methods.split(",")}
    for name, value in ratios.items():
        console.print(f"{name:12s} {value:.2f}")
    ratio(statistics.geometric_mean(ratios.values()), 1.0)


if __name__ == "__main__":
    main()
