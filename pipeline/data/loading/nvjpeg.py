"""Decoding and cropping of JPEGs on the GPU, for machines with few CPU cores beside it."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from pipeline.data.crops import Cut
from pipeline.data.images import load_image, open_plain_jpeg
from pipeline.data.loading.decoding import Decoder, Selection
from pipeline.errors import UserError


class PartlyDecoded(NamedTuple):
    """A batch of B images as a worker leaves it: K decoded and cropped, B - K still encoded.

    Attributes:
        indices: int64 (B,), places of the images in the index.
        lengths: int64 (B,), bytes of each JPEG; 0 where the image is already decoded.
        cuts: int64 (B, 5), what the crop shows of each (`Cut`); zeros for the decoded.
        content: uint8 (sum of lengths,), the JPEGs one after the other.
        decoded: uint8 (K, 3, size, size).
    """

    indices: Tensor
    lengths: Tensor
    cuts: Tensor
    content: Tensor
    decoded: Tensor


class NvjpegDecoder(Decoder):
    """Has nvJPEG decode upright JPEGs of one or three components; Pillow decodes the others.

    Workers read the files and draw the crops from the same random numbers as those of
    `PillowDecoder`, so the same parts of the same images come in the same order. Their values
    differ somewhat, because the two decoders enlarge the colour channels and round differently.
    nvJPEG is called through TorchCodec.
    """

    @override
    def read(self, selection: Selection) -> PartlyDecoded:
        count = len(selection.indices)
        jpegs, decoded = [b""] * count, {}
        cuts = torch.zeros((count, len(Cut._fields)), dtype=torch.int64)
        for place, name, content in self._contents(selection):
            image = open_plain_jpeg(content)
            if image is None:
                decoded[place] = self._decoded(name, content)
            else:
                jpegs[place] = content
                cuts[place] = torch.tensor(self._crop.draw(image))
        return PartlyDecoded(
            indices=torch.from_numpy(selection.indices),
            lengths=torch.tensor([len(jpeg) for jpeg in jpegs], dtype=torch.int64),
            cuts=cuts,
            content=torch.from_numpy(np.frombuffer(b"".join(jpegs), np.uint8).copy()),
            decoded=torch.stack([decoded[place] for place in sorted(decoded)])
            if decoded
            else torch.empty((0, *self._shape), dtype=torch.uint8),
        )

    @override
    def to_device(self, item: PartlyDecoded, device: torch.device) -> Tensor:
        if device.type != "cuda":
            return self._crops(item, device)
        training, beside = torch.cuda.current_stream(device), _stream(device)
        with torch.cuda.stream(beside):
            images = self._crops(item, device)
        training.wait_stream(beside)
        images.record_stream(training)
        return images

    def _crops(self, item: PartlyDecoded, device: torch.device) -> Tensor:
        images = torch.empty((len(item.lengths), *self._shape), dtype=torch.uint8, device=device)
        encoded = item.lengths > 0
        images[~encoded] = item.decoded.to(device)
        places = encoded.nonzero().flatten()
        lengths = item.lengths[places].tolist()
        jpegs = item.content.split(lengths)
        names = [self.encoded.full_name(index) for index in item.indices[places].tolist()]
        cuts = [Cut(*cut) for cut in item.cuts[places].tolist()]
        for place, cut, image in zip(places, cuts, decode(jpegs, names, device), strict=True):
            bottom, right = cut.top + cut.height, cut.left + cut.width
            images[place] = self._crop.resize(image[:, cut.top : bottom, cut.left : right])
        mirrored = item.cuts[:, Cut._fields.index("mirrored")].nonzero().flatten()
        images[mirrored] = images[mirrored].flip(-1)
        return images


def decode(jpegs: Sequence[Tensor], names: Sequence[str], device: torch.device) -> list[Tensor]:
    """Decode JPEGs to uint8 (3, H, W) each, on `device`; Pillow decodes what TorchCodec cannot.

    Args:
        jpegs: uint8 (bytes,) each, on the CPU.
        names: their names in error messages.
        device: where the results are; nvJPEG decodes on CUDA, libjpeg-turbo on a CPU.

    Raises:
        UserError: TorchCodec cannot be imported, or one of the images cannot be decoded at all.
    """
    if not jpegs:
        return []
    try:
        from torchcodec.decoders import decode_jpeg  # noqa: PLC0415 -- needs CUDA's libraries
    except (ImportError, OSError) as error:
        raise UserError(
            "streaming.decoder is 'nvjpeg': torchcodec 0.16 or newer cannot be imported "
            f"({' '.join(str(error).split())}); the other decoder is pillow"
        ) from error

    def decode_one(jpeg: Tensor, name: str) -> Tensor:
        try:
            [image] = decode_jpeg([jpeg], device=device)
        except RuntimeError:
            pixels = np.array(load_image(name, jpeg.numpy().tobytes()).convert("RGB"))
            image = torch.from_numpy(pixels).permute(2, 0, 1).to(device)
        return image

    try:
        return [*decode_jpeg(list(jpegs), device=device)]
    except RuntimeError:  # it does not say which image it is about
        return [decode_one(jpeg, name) for jpeg, name in zip(jpegs, names, strict=True)]


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """A separate stream for decoding: TorchCodec synchronizes the stream it uses."""
    return torch.cuda.Stream(device)
