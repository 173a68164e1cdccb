"""The device of a stage, and how the stage computes on it."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from pipeline.allocator import keep_freed_memory
from pipeline.distributed import LARGEST_WORLD, number_of_torchrun
from pipeline.errors import UserError
from pipeline.params import Compute

PORTABLE_ARITHMETIC = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
}
"""Environment variables that PyTorch, oneDNN and MKL read before they first compute on a CPU."""


@dataclass(frozen=True)
class Execution:
    """`params.Compute` with every `auto` decided for one device."""

    device: torch.device
    autocast: torch.dtype | None
    """None: float32 throughout."""
    compile: bool
    channels_last: bool
    fused_optimizer: bool
    deterministic: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, model: nn.Module) -> nn.Module:
        """Move `model` to the device, in the chosen memory format."""
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        return model.to(self.device)

    def choose_algorithms(self) -> None:
        """Choose CUDA's algorithms as `deterministic` says; a CPU's are deterministic anyway."""
        if self.device.type != "cuda":  # the call imports torch's compiler, which takes seconds
            return
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.benchmark = not self.deterministic

    def autocast_context(self) -> torch.autocast:
        """Make a context in which a forward pass computes in the chosen precision."""
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)


@contextlib.contextmanager
def within_memory(what: str, advice: str) -> Iterator[None]:
    """Turn an out-of-memory error of GPU or CPU, even one before torch allocates, into one line.

    Raises:
        UserError: there is not enough memory; `what` names the work, `advice` what to change.
    """
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise UserError(f"{what}: out of GPU memory; {advice}") from None
        if "DefaultCPUAllocator: " in str(error):
            raise UserError(f"{what}: out of memory; {advice}") from None
        raise


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Turn a failure of torch.compile, such as a C++ compiler that does not work, into one line.

    Raises:
        UserError: torch.compile failed.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UserError(
                f"compute.compile: torch.compile failed ({' '.join(str(error).split())[:200]}); "
                f"set it to off, or CXX to a compiler that works, now {_compiler()}"
            ) from error
        raise


def select_device() -> torch.device:
    """The device that the environment variable BDBNN_DEVICE names, else CUDA if there, else CPU.

    Raises:
        UserError: BDBNN_DEVICE names no device or one that is not available, or torchrun started
            more processes on this machine than it has GPUs.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = os.environ.get("BDBNN_DEVICE") or ("cuda" if count else "cpu")
    allowed = ["cpu", *(["cuda"] if count else []), *(f"cuda:{index}" for index in range(count))]
    if name not in allowed:
        none = "" if count else " (no CUDA device is available)"
        raise UserError(f"BDBNN_DEVICE is {name!r}: allowed is {', '.join(allowed)}{none}")
    if name == "cuda":
        rank = number_of_torchrun("LOCAL_RANK", 0, 0, LARGEST_WORLD)
        if rank >= count:
            raise UserError(f"process {rank + 1} of this machine has no GPU: there are {count}")
        return torch.device("cuda", rank)
    return torch.device(name)


def _has_bfloat16(cuda: bool) -> bool:
    if cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def configure(compute: Compute, device: torch.device, *, binary: bool) -> Execution:
    """Apply threads, arithmetic and determinism to this process and decide every `auto`.

    A CPU without bfloat16 instructions emulates them and is ten times slower than in float32, and
    GPUs before Ampere emulate them too, so `auto` chooses bfloat16 only where they exist. On a CPU,
    torch.compile needs a C++ compiler; it speeds up a binary network and slows down a
    full-precision one, and `auto` compiles accordingly.

    Args:
        compute: parameters.
        device: where the network is.
        binary: whether the network quantizes anything.

    Raises:
        UserError: compute.compile is on, but there is no compiler.
    """
    if compute.threads:
        torch.set_num_threads(compute.threads)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    else:
        keep_freed_memory()
        if compute.portable and torch.cpu._is_avx2_supported():
            os.environ |= PORTABLE_ARITHMETIC
    torch.backends.cudnn.allow_tf32 = False  # no TF32 for float32, as is torch's default for matmul
    on_cuda = {"auto": cuda, "on": True, "off": False}
    compiler = _compiler()
    can_compile = cuda or shutil.which(compiler) is not None
    if compute.compile == "on" and not can_compile:
        raise UserError(f"compute.compile is on: needs {compiler}, which is not there (or set CXX)")
    half = compute.precision == "bfloat16" or (compute.precision == "auto" and _has_bfloat16(cuda))
    execution = Execution(
        device=device,
        autocast=torch.bfloat16 if half else None,
        compile=compute.compile == "on"
        or (compute.compile == "auto" and can_compile and (cuda or binary)),
        channels_last=on_cuda[compute.channels_last],
        fused_optimizer=compute.fused_optimizer,
        deterministic=compute.deterministic,
    )
    execution.choose_algorithms()
    return execution


def _compiler() -> str:
    """The C++ compiler that torch.compile calls on a CPU."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
