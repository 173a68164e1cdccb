"""JPEGs decoded and cropped on the GPU, for machines with few CPU cores beside it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.data.crops import Cut
from pipeline.data.decoding import Decoder, Task
from pipeline.data.images import open_plain_jpeg
from pipeline.errors import UserError


class Read(NamedTuple):
    """A batch of B images that a worker has read: K decoded and cropped, B - K still encoded.

    Attributes:
        indices: int64 (B,), of the images.
        lengths: int64 (B,), bytes of each JPEG; 0 where the image is among the decoded.
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

    Workers read the files and draw the crops, from the same random numbers as those of
    `PillowDecoder`: the same pixels of the same images come in the same order. Their values differ
    by what the two decoders round differently. The decoder is TorchCodec's.
    """

    def _item(self, task: Task) -> Read:
        count = len(task[0])
        jpegs, decoded = [b""] * count, {}
        cuts = torch.zeros((count, len(Cut._fields)), dtype=torch.int64)
        for place, name, content in self._contents(task):
            image = open_plain_jpeg(content)
            if image is None:
                decoded[place] = self._decoded(name, content)
            else:
                assert isinstance(content, bytes)
                jpegs[place] = content
                cuts[place] = torch.tensor(self._crop.draw(image))
        return Read(
            indices=torch.from_numpy(task[0]),
            lengths=torch.tensor([len(jpeg) for jpeg in jpegs]),
            cuts=cuts,
            content=torch.frombuffer(bytearray(b"".join(jpegs)) or bytearray(1), dtype=torch.uint8),
            decoded=torch.stack([decoded[place] for place in sorted(decoded)])
            if decoded
            else torch.empty((0, *self._shape), dtype=torch.uint8),
        )

    def to_device(self, item: Read, device: torch.device) -> Tensor:
        """See `Decoder`."""
        images = torch.empty((len(item.lengths), *self._shape), dtype=torch.uint8, device=device)
        encoded = item.lengths > 0
        images[~encoded] = item.decoded.to(device)
        places = encoded.nonzero().flatten()
        lengths = item.lengths[places].tolist()
        jpegs = item.content[: sum(lengths)].split(lengths)
        names = [self.name(index) for index in item.indices[places].tolist()]
        cuts = [Cut(*cut) for cut in item.cuts[places].tolist()]
        for place, cut, image in zip(places, cuts, decode(jpegs, names, device), strict=True):
            bottom, right = cut.top + cut.height, cut.left + cut.width
            images[place] = self._crop.resize(image[:, cut.top : bottom, cut.left : right])
        mirrored = item.cuts[:, Cut._fields.index("mirrored")].nonzero().flatten()
        images[mirrored] = images[mirrored].flip(-1)
        return images


def decode(jpegs: Sequence[Tensor], names: Sequence[str], device: torch.device) -> list[Tensor]:
    """Decode JPEGs to uint8 (3, H, W) each, on `device`.

    Args:
        jpegs: uint8 (bytes,) each, on the CPU.
        names: what an error calls them.
        device: that of the results; nvJPEG decodes on CUDA, libjpeg-turbo on a CPU.

    Raises:
        UserError: TorchCodec cannot be imported, or one of the images cannot be decoded.
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
    try:
        return [*decode_jpeg(list(jpegs), device=device)]
    except RuntimeError:
        for name, jpeg in zip(names, jpegs, strict=True):
            try:
                decode_jpeg(jpeg, device=device)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{name}: streaming.decoder 'nvjpeg' could not decode it ({reason}); set it to "
                    "pillow, which could"
                ) from error
        raise
