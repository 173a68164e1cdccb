"""Pretrained weights of torchvision's networks: those that it publishes, or those of a file."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from pipeline.artifacts import read_tensors, sha256
from pipeline.errors import UserError
from pipeline.models.saved import State, load_state
from pipeline.params import resolve

PREFIX = "torchvision_"
"""Prefix of the names of these networks."""
TIMEOUT_SECONDS = 30


def load_pretrained(model: nn.Module, network: str, weights: str) -> dict[str, str]:
    """Copy pretrained weights into `model`, in place; all of them, or none if something is wrong.

    Args:
        model: torchvision's ResNet-18 or ResNet-34.
        network: its name, `torchvision_resnet18` or `torchvision_resnet34`.
        weights: `download` for those that torchvision publishes, trained on ImageNet, which torch
            keeps in its own cache ($TORCH_HOME). Otherwise a file with a state_dict, either
            .safetensors or from torch.save, which is read without running any code in it.
            Environment variables are expanded.

    Returns:
        Provenance: `weights` as given, and the SHA-256 of the file that was read.

    Raises:
        UserError: the download fails; a variable is not set; the file is missing or damaged; or the
            weights are of another architecture or number of classes, or are not all finite.
    """
    if weights == "download":
        path, source, state = _download(network.removeprefix(PREFIX))
    else:
        path = resolve(weights, "pretrained.weights")
        source, state = f"pretrained.weights: {path}", _read(path)
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name.endswith(".num_batches_tracked"):  # torchvision's own files do not have it
            state.setdefault(name, tensor)
    if "fc.bias" in state:
        found, wanted = state["fc.bias"].numel(), expected["fc.bias"].numel()
        if found != wanted:
            raise UserError(f"{source}: is of {found} classes, the data has {wanted}")
    for name, tensor in state.items():
        if not _is_usable(tensor):
            raise UserError(f"{source}: {name} is no dense tensor of finite numbers")
    load_state(model, state, source)
    return {"weights": weights, "weights_sha256": sha256(path)}


def _download(name: str) -> tuple[Path, str, State]:
    """Download torchvision's weights: their file in torch's cache, their address and their content.

    They are written to the cache under another name, and renamed once complete and checked.
    """
    # Imported here: torchvision takes seconds to import, and a file does not need it.
    from torchvision.models import get_model_weights  # noqa: PLC0415

    entry = get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2])
    beginning = cached.stem.rpartition("-")[2]  # of the file's SHA-256
    if cached.is_file() and not sha256(cached).startswith(beginning):  # torch does not check again
        raise UserError(f"pretrained.weights is 'download': {cached} is damaged; remove it")
    try:
        with _timeout():
            state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # of the network, the disk, the hash, or reading the file
        reason = str(getattr(error, "reason", error)).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"pretrained.weights is 'download': {entry.url} could not be had ({reason}); "
            "name a file with these weights instead"
        ) from None
    return cached, f"pretrained.weights: {entry.url}", state


@contextmanager
def _timeout() -> Iterator[None]:
    """Let no connection wait longer than TIMEOUT_SECONDS; torch.hub takes no such argument."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _is_usable(tensor: torch.Tensor) -> bool:
    try:
        return tensor.layout == torch.strided and bool(tensor.isfinite().all())
    except (RuntimeError, NotImplementedError):  # quantized, without data, or of an odd type
        return False


def _read(path: Path) -> State:
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises where a name is too long
        raise UserError(f"pretrained.weights: {path}: no such file")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # an unpickler can raise anything
        raise UserError(
            f"pretrained.weights: {path}: is damaged, or holds more than the tensors that "
            "torch.load reads with weights_only=True"
        ) from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()
    ):
        raise UserError(f"pretrained.weights: {path}: is no state_dict, tensors by their names")
    return state
