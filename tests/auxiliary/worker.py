"""One of two gloo processes: computes every case in every layout and writes its answers."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from embedkit.train.distributed import Comm
from tests.auxiliary.cases import CASES, LAYOUTS, run


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=120)
    )
    answers = {
        (case, str(layout)): run(case, layout, Comm.current(), folder / "base", folder / "generator")
        for case in CASES
        for layout in LAYOUTS
        if layout.micro == 3
    }
    torch.save(answers, folder / f"answers-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
