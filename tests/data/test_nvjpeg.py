"""The decoder of the GPU: what workers leave to it, what it makes of that, and what may go wrong.

On a CPU TorchCodec decodes with libjpeg-turbo, as Pillow does: there both decoders must give the
same bits.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import ExifTags, Image

from pipeline.data.images import open_plain_jpeg
from pipeline.data.loading.dataset import open_prepared
from pipeline.data.loading.decoding import Selection
from pipeline.data.loading.nvjpeg import NvjpegDecoder, decode
from pipeline.data.loading.streaming import StreamedImages
from pipeline.errors import UserError
from pipeline.params import Augmentation
from tests.conftest import needs_cuda
from tests.data.conftest import encode, here

SIZE = 32
CPU = torch.device("cpu")


def jpeg(image: Image.Image, **options) -> bytes:
    return encode(image, "JPEG", **options)


def tensor(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def pillow_pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB")).transpose(2, 0, 1)


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return jpeg(image, exif=exif)


PLAIN = {
    "colour": jpeg,
    "grey": lambda image: jpeg(image.convert("L")),
    "progressive": lambda image: jpeg(image, progressive=True),
    "4:4:4": lambda image: jpeg(image, subsampling=0),
    "upright": lambda image: jpeg(image, exif=Image.Exif()),
}


def without_marker(image: Image.Image) -> bytes:
    """A JPEG that is RGB by the names of its components alone."""
    content = jpeg(image, keep_rgb=True)
    start = content.index(b"\xff\xee")  # Adobe's marker, APP14
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4]) :]


OTHERS = {
    "cmyk": lambda image: jpeg(image.convert("CMYK")),
    "not YCbCr": lambda image: jpeg(image, keep_rgb=True),
    "not YCbCr, unmarked": without_marker,
    "turned": turned,
    "png": encode,
    "palette": lambda image: encode(image.convert("P")),
    "16 bits": lambda image: encode(image.convert("I;16")),
}
KINDS = PLAIN | OTHERS


@pytest.fixture
def mixed(indexed, photo, monkeypatch):
    """An index of images of all kinds, in files or shards; the GPU's decoder takes the CPU."""

    def make(source: str = "folders"):
        monkeypatch.setenv("BDBNN_WORKERS", "0")
        images = indexed(source, count=2 * len(KINDS))
        contents = [
            KINDS[kind](photo(40 + number, 70 - number, seed=number))
            for number, kind in enumerate([*KINDS] * 3)
        ]
        if source == "folders":
            for number, content in enumerate(contents):
                split = "train" if number < 2 * len(KINDS) else "test"
                images.path(split, number).write_bytes(content)
        for path in images.root.glob("*.parquet"):
            rows = pq.read_table(path).to_pylist()
            for row in rows:
                row["image"]["bytes"] = contents[int(row["image"]["path"].removesuffix(".png"))]
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
        monkeypatch.setattr(StreamedImages, "_decoder", lambda *_: NvjpegDecoder)
        return images

    return make


def batches(folder, split, device=CPU):
    flip = Augmentation(crop_padding=0, horizontal_flip=True)
    augmentation = flip if split == "train" else None
    options = {"batch_size": 5, "augmentation": augmentation, "seed": 3}
    return open_prepared(folder).batches(split, **options, **here(device))


@pytest.mark.parametrize("kind", KINDS)
def test_workers_leave_plain_jpegs_to_the_gpu(kind, photo):
    content = KINDS[kind](photo(20, 10))
    image = open_plain_jpeg(content)
    assert (image is not None) == (kind in PLAIN)
    assert open_plain_jpeg(content[:20]) is None
    if image is not None:
        [pixels] = decode([tensor(content)], ["it"], CPU)
        assert np.array_equal(pixels.numpy(), pillow_pixels(content))


@pytest.mark.parametrize("source", ["folders", "shards"])
def test_workers_send_plain_jpegs_encoded_and_crop_the_others(mixed, source):
    decoder = batches(mixed(source).prepare(image_size=SIZE, resize=40), "train")._decoder
    indices = np.arange(len(decoder._sizes))
    read = decoder.read(Selection(indices, None))
    if source == "folders":
        numbers = [int(Path(decoder.encoded.name(index)).stem) for index in indices]
        plain = [list(KINDS)[number % len(KINDS)] in PLAIN for number in numbers]
        assert (read.lengths > 0).tolist() == plain
    assert (read.lengths > 0).sum() + len(read.decoded) == len(indices)
    assert 0 < len(read.decoded) < len(indices)
    none = decoder.read(Selection(indices[:0], None))
    assert decoder.to_device(none, CPU).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", ["folders", "shards"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_both_decoders_give_the_same_crops(mixed, source, split, workers, monkeypatch):
    folder = mixed(source).prepare(image_size=SIZE, resize=40)
    monkeypatch.setenv("BDBNN_WORKERS", str(workers))
    left = list(batches(folder, split).batches(1))
    monkeypatch.undo()
    monkeypatch.setenv("BDBNN_WORKERS", "0")
    right = list(batches(folder, split).batches(1))
    assert len(left) == len(right) > 1
    for (images, labels), (expected_images, expected_labels) in zip(left, right, strict=True):
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)
    assert torch.cat([images for images, _ in left]).std(0).min() > 0.1


def test_a_jpeg_that_cannot_be_decoded_is_named(photo):
    good = bytearray(jpeg(photo(40, 30)))
    bad = good.copy()
    start = bad.index(b"\xff\xc4")  # its Huffman table
    bad[start + 5 : start + 21] = bytes(16)
    with pytest.raises(UserError) as error:
        decode([tensor(good), tensor(bad)], "ab", CPU)
    assert str(error.value).startswith("b: could not be decoded (")
    assert "\n" not in str(error.value)


def test_what_torchcodec_refuses_is_left_to_pillow(photo):
    contents = [jpeg(photo(40, 30)), encode(photo(9, 8, seed=1))]
    images = decode([tensor(each) for each in contents], "ab", CPU)
    for image, content in zip(images, contents, strict=True):
        assert np.array_equal(image.numpy(), pillow_pixels(content))


def test_a_batch_without_jpegs_needs_no_decoder(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert decode([], [], CPU) == []


def test_an_image_that_changed_is_one_line(mixed):
    images = mixed()
    folder = images.prepare(image_size=SIZE, resize=40)
    path = images.path("train", 0)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UserError, match=f"^{path}: has .* bytes, had .* when it was indexed"):
        list(batches(folder, "train").batches(0))


def test_a_missing_torchcodec_is_one_line(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(UserError) as error:
        decode([tensor(jpeg(photo(9, 9)))], ["it"], CPU)
    assert str(error.value).startswith(
        "streaming.decoder is 'nvjpeg': torchcodec 0.16 or newer cannot be imported ("
    )
    assert str(error.value).endswith("); the other decoder is pillow")


def test_the_decoder_of_the_gpu_needs_one(indexed):
    folder = indexed().prepare(decoder="nvjpeg")
    with pytest.raises(UserError) as error:
        batches(folder, "train")
    assert str(error.value) == (
        "streaming.decoder is 'nvjpeg': needs a CUDA GPU, the device is cpu; the other decoder is "
        "pillow"
    )
    assert open_prepared(folder).pixels("test", 0).shape == (3, 8, 8)


@needs_cuda
@pytest.mark.parametrize("split", ["train", "test"])
def test_nvjpeg_gives_nearly_the_same_crops(mixed, split, monkeypatch):
    folder = mixed().prepare(image_size=SIZE, resize=40)
    found = torch.cat(
        [images for images, _ in batches(folder, split, torch.device("cuda")).batches(1)]
    )
    monkeypatch.undo()
    expected = torch.cat([images for images, _ in batches(folder, split).batches(1)])
    std = torch.tensor(open_prepared(folder).manifest.std)[:, None, None]
    levels = ((found.cpu() - expected).abs() * std * 255).mean((1, 2, 3))
    others = ((expected.roll(1, 0) - expected).abs() * std * 255).mean((1, 2, 3))
    assert levels.max() < 5 < others.min()
