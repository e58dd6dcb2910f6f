"""One of two gloo processes: computes every case in the layouts asked for and writes its answers."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from embedkit.train.distributed import Comm
from tests.contract.cases import FEW, LAYOUTS, run
from tests.workers import join_gloo


def main(rank: int, folder: str, which: str, cases: list[str]) -> None:
    join_gloo(rank, folder)
    layouts = {"two": FEW[:2], "all": LAYOUTS}[which]
    answers = {(case, layout): run(case, layout, Comm.current()) for case in cases for layout in layouts}
    torch.save({(c, str(lo)): a for (c, lo), a in answers.items()}, f"{folder}/answers-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].split(","))
