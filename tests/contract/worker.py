"""One of two gloo processes: computes every case in every layout and writes the answers of process 0 and 1."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from embedkit.train.distributed import Comm
from tests.contract.cases import LAYOUTS, run
from tests.workers import join_gloo


def main(rank: int, folder: str, cases: list[str]) -> None:
    join_gloo(rank, folder)
    answers = {(case, layout): run(case, layout, Comm.current()) for case in cases for layout in LAYOUTS}
    torch.save({(c, str(lo)): a for (c, lo), a in answers.items()}, f"{folder}/answers-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3].split(","))
