"""One of two gloo processes: computes every case in every layout and writes its answers."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from embedkit.train.distributed import Comm
from tests.auxiliary.cases import CASES, LAYOUTS, run
from tests.workers import join_gloo


def main(rank: int, folder: Path) -> None:
    join_gloo(rank, folder)
    answers = {
        (case, str(layout)): run(case, layout, Comm.current(), folder / "base", folder / "generator")
        for case in CASES
        for layout in LAYOUTS
    }
    torch.save(answers, folder / f"answers-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
