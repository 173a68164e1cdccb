"""Run an exported network: no torch, so that an answer takes less than a second."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.inference.manifest import MODEL, Manifest, read_manifest
from pipeline.inference.preparation import read_pixels
from pipeline.inference.runtime import openvino

BATCH = 32
"""Images that the engine gets at a time. A call may have any number of images."""


class ExportedNetwork:
    """An exported network that OpenVINO runs; `load_export` makes one."""

    def __init__(self, manifest: Manifest, model: Any, engine: Any, threads: int) -> None:
        self.manifest = manifest
        self._model = model
        self._engine = engine
        self._threads = threads
        self._compiled: dict[int, Any] = {}

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits, float32 (N, classes).

        Args:
            pixels: uint8 (N, channels, image_size, image_size), any N.

        Raises:
            UserError: `pixels` has another shape or dtype, OpenVINO cannot compute the network, or
                a logit is not finite.
        """
        size = self.manifest.image_size
        wanted = (self.manifest.channels, size, size)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != wanted:
            raise UserError(
                f"{self.manifest.name}: images are {pixels.dtype} {pixels.shape[1:]}, it takes "
                f"uint8 {wanted}"
            )
        logits = np.empty((len(pixels), len(self.manifest.classes)), np.float32)
        last = max(0, len(pixels) - BATCH)
        for start in range(0, len(pixels), BATCH):
            # The last part overlaps the one before: one size for all, as compiling takes longest.
            part = slice(min(start, last), start + BATCH)
            batch = np.ascontiguousarray(pixels[part])
            try:
                logits[part] = self.compiled(len(batch))(batch)[0]
            except RuntimeError as error:
                raise UserError(
                    f"{self.manifest.name}: could not be computed by OpenVINO ({error})"
                ) from error
        if not np.isfinite(logits).all():
            raise UserError(f"{self.manifest.name}: its logits are not finite numbers")
        return logits

    def compiled(self, batch: int) -> Any:
        """The `openvino.CompiledModel` for batches of this size, compiled once."""
        if batch not in self._compiled:
            size = self.manifest.image_size
            self._model.reshape([batch, self.manifest.channels, size, size])
            options = compile_options(self._threads)
            self._compiled[batch] = self._engine.compile_model(self._model, "CPU", options)
        return self._compiled[batch]


def compile_options(threads: int) -> dict[str, Any]:
    """Options that make OpenVINO compute in float32, and fast for one batch at a time.

    By default it computes in bfloat16 where the processor can, which would flip signs.

    Args:
        threads: Number of threads; 0 leaves it to OpenVINO.
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }


def xnor_convolutions(compiled: Any) -> int:
    """Number of binary convolutions that a compiled model computes by XNOR and popcount.

    Args:
        compiled: An `openvino.CompiledModel`.
    """
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kernels = [
        layer["primitiveType"].value
        for layer in layers
        if layer["layerType"].value == "BinaryConvolution"
    ]
    return sum(kernel.startswith("jit_") and kernel.endswith("_u1") for kernel in kernels)


def load_export(folder: Path, *, threads: int = 0) -> ExportedNetwork:
    """Read an export; nothing in it is executed.

    Args:
        folder: Folder that the stage export wrote.
        threads: Number of threads to compute with; 0 leaves it to OpenVINO.

    Raises:
        UserError: the folder is no export, has another version, or was changed or cut short; its
            parts do not fit together; or there is no OpenVINO for this platform.
    """
    manifest = read_manifest(folder)
    engine = openvino().Core()
    if "CPU" not in engine.available_devices:
        raise UserError("openvino has no CPU plugin on this platform")
    try:
        model = engine.read_model(folder / MODEL)
    except RuntimeError as error:
        raise UserError(f"{folder / MODEL}: could not be read by OpenVINO ({error})") from error
    try:
        found = tuple(model.input().shape)[1:]
        _, classes = model.output().partial_shape
        logits = classes.get_length()
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{folder / MODEL}: has no images of one size as its input, or no logits as its output"
        ) from error
    wanted = (manifest.channels, manifest.image_size, manifest.image_size)
    if found != wanted:
        raise UserError(f"{folder / MODEL}: takes images {found}, {wanted} are in its manifest")
    if logits != len(manifest.classes):
        raise UserError(
            f"{folder / MODEL}: has {logits} logits, {len(manifest.classes)} classes are in its "
            "manifest"
        )
    return ExportedNetwork(manifest, model, engine, threads)


def predict(network: ExportedNetwork, images: Iterable[Path]) -> np.ndarray:
    """Probability of each class for each image file, float32 (N, classes).

    Args:
        network: From `load_export`.
        images: Files of any size and mode, see `read_pixels`.

    Raises:
        UserError: a file cannot be read or decoded.
    """
    manifest = network.manifest
    pixels = [read_pixels(path, manifest) for path in images]
    shape = (len(pixels), manifest.channels, manifest.image_size, manifest.image_size)
    return softmax(network.logits(np.array(pixels, np.uint8).reshape(shape)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (N, classes), in the same shape and dtype."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
