"""The processes of one training: one alone, or those torchrun started."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist

from pipeline.errors import UserError


@dataclass(frozen=True)
class World:
    """This process among all that share the training."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Only the main process writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum `values` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, value: int) -> int:
        """The main process's `value`, in every process."""
        if self.size == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared, src=0)
        return shared[0]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process raises `flag`; every process must ask."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(int(flag), device=device)).item())

    def share(self, batch_size: int) -> int:
        """Images of a global batch that one process takes.

        Raises:
            UserError: the processes cannot take equal shares.
        """
        if batch_size % self.size:
            raise UserError(
                f"batch_size is {batch_size}: must be a multiple of the {self.size} processes"
            )
        return batch_size // self.size


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the processes torchrun announced in the environment, else be the only one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(rank=0, size=1)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()
