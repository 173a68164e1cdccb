"""The processes of one training: one alone, or those torchrun started."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from pipeline.errors import UserError

T = TypeVar("T")


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

    def broadcast(self, value: T) -> T:
        """The main process's `value`, in every process."""
        if self.size == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared, src=0)
        return shared[0]

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the main one's batch statistics, those of the network it saves.

        In training each process takes them from its own share of a batch.
        """
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process raises `flag`; every process must ask."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(int(flag), device=device)).item())

    def check_batch_size(self, batch_size: int, smallest: int) -> None:
        """Refuse global batches that the processes cannot share.

        Args:
            batch_size: the parameter, which bounds their images.
            smallest: images in the smallest of them.

        Raises:
            UserError: a process would get less than two images of it.
        """
        if smallest < 2 * self.size:
            raise UserError(
                f"batch_size is {batch_size}, the smallest batch has {smallest}: batch "
                "normalization needs at least 2 images in each process, of which there are "
                f"{self.size}"
            )


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the processes torchrun announced in the environment, else be the only one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(rank=0, size=1)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    store, rank, size = next(dist.rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun gives restarted processes the store that holds the addresses of the dead ones.
        # With several nodes the count may differ between them: see docs/clusters.md.
        store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()
