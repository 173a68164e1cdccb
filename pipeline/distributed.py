"""The processes of one training: a single one, or those that torchrun started."""

import contextlib
import os
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from pipeline.errors import UserError

RENDEZVOUS = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that torchrun sets beside WORLD_SIZE."""
LARGEST_WORLD = 2**16


@dataclass(frozen=True)
class World:
    """This process among all that share the training."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, the only one that writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum `values` over all processes, in place; every process must call it."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, content: bytes | None, device: torch.device) -> bytes | None:
        """Send the main process's `content` to every process; that of the others is ignored.

        The bytes are sent as they are, because torch's own broadcast of objects reads a pickle.
        """
        if self.size == 1:
            return content
        length = torch.tensor(-1 if content is None else len(content), device=device)
        dist.broadcast(length, src=0)
        if length < 0:
            return None
        shared = torch.empty(int(length), dtype=torch.uint8, device=device)
        if self.is_main:
            assert content is not None
            shared.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(shared, src=0)
        return shared.cpu().numpy().tobytes()

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the batch statistics of the main one, which saves the network.

        During training, each process computes its own from its share of each batch.
        """
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process raises `flag`; every process must call it."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(int(flag), device=device)).item())


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun announced in the environment, or run alone without them.

    Raises:
        UserError: the announcement is incomplete or not made of numbers, or the processes did not
            meet.
    """
    size = number_of_torchrun("WORLD_SIZE", 1, 1, LARGEST_WORLD)
    if size == 1:
        yield World(rank=0, size=1)
        return
    missing = [name for name in RENDEZVOUS if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set: start with torchrun, or "
            "unset WORLD_SIZE"
        )
    number_of_torchrun("RANK", 0, 0, size - 1)
    number_of_torchrun("MASTER_PORT", 0, 0, 2**16 - 1)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, size = next(dist.rendezvous("env://"))
    except dist.DistError as error:
        raise UserError(
            f"the {size} processes of WORLD_SIZE did not meet at MASTER_ADDR, "
            f"{os.environ['MASTER_ADDR']}, and MASTER_PORT, {os.environ['MASTER_PORT']}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun gives restarted processes the store that holds the addresses of the dead ones.
        # With several nodes the count may differ between them: see docs/clusters.md.
        store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()


def number_of_torchrun(name: str, default: int, lowest: int, highest: int) -> int:
    """Read a number from the environment variable `name`, or `default` if torchrun did not set it.

    Raises:
        UserError: it is not a whole number from `lowest` to `highest`.
    """
    text = os.environ.get(name, str(default))
    if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise UserError(
            f"{name} is {reprlib.repr(text)}: torchrun sets it, to a whole number from {lowest} to "
            f"{highest}"
        )
    return int(text)
