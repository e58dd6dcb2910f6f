"""One of two gloo processes: computes every case in every layout and writes the answers of process 0 and 1."""

from __future__ import annotations

import sys
from datetime import timedelta

import torch
import torch.distributed as dist

from embedkit.train.distributed import Comm
from tests.contract.cases import LAYOUTS, run


def main(rank: int, world: int, folder: str, cases: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=120)
    )
    answers = {(case, layout): run(case, layout, Comm.current()) for case in cases for layout in LAYOUTS}
    torch.save({(c, str(lo)): a for (c, lo), a in answers.items()}, f"{folder}/answers-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4].split(","))
