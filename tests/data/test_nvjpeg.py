"""The decoder of the GPU: what workers leave to it, what it makes of that, and what may go wrong.

On a CPU TorchCodec decodes with libjpeg-turbo, as Pillow does: there both decoders must give the
same bits.
"""

import io
import re
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import ExifTags, Image

from pipeline.data.images import open_plain_jpeg
from pipeline.data.nvjpeg import NvjpegDecoder, decode
from pipeline.data.opening import open_prepared
from pipeline.data.streaming import StreamedImages
from pipeline.errors import UserError
from pipeline.params import Augmentation

SIZE = 32
CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def encoded(image: Image.Image, image_format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(image, exif=exif)


PLAIN = {
    "colour": encoded,
    "grey": lambda image: encoded(image.convert("L")),
    "progressive": lambda image: encoded(image, progressive=True),
    "4:4:4": lambda image: encoded(image, subsampling=0),
    "upright": lambda image: encoded(image, exif=Image.Exif()),
}


def without_marker(image: Image.Image) -> bytes:
    """A JPEG that is RGB by the names of its components alone."""
    content = encoded(image, keep_rgb=True)
    start = content.index(b"\xff\xee")  # Adobe's marker, APP14
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4]) :]


OTHERS = {
    "cmyk": lambda image: encoded(image.convert("CMYK")),
    "not YCbCr": lambda image: encoded(image, keep_rgb=True),
    "not YCbCr, unmarked": without_marker,
    "turned": turned,
    "png": lambda image: encoded(image, "PNG"),
    "palette": lambda image: encoded(image.convert("P"), "PNG"),
    "16 bits": lambda image: encoded(image.convert("I;16"), "PNG"),
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


def batches(folder, split, device=CPU, **changes):
    options = {"batch_size": 5, "shuffle": True, "seed": 3}
    flip = Augmentation(crop_padding=0, horizontal_flip=True)
    options |= {"augmentation": flip if split == "train" else None}
    return open_prepared(folder).batches(split, device=device, **options | changes)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_leave_plain_jpegs_to_the_gpu(kind, photo):
    content = KINDS[kind](photo(20, 10))
    image = open_plain_jpeg(content)
    assert (image is not None) == (kind in PLAIN)
    assert open_plain_jpeg(content[:20]) is None
    assert open_plain_jpeg(UserError("gone")) is None
    if image is not None:
        with Image.open(io.BytesIO(content)) as opened:
            expected = np.array(opened.convert("RGB"))
        [pixels] = decode([torch.frombuffer(bytearray(content), dtype=torch.uint8)], ["it"], CPU)
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("source", ["folders", "shards"])
def test_workers_send_plain_jpegs_encoded_and_crop_the_others(mixed, source):
    decoder = batches(mixed(source).prepare(image_size=SIZE, resize=40), "train")._decoder
    indices = np.arange(len(decoder._sizes))
    names = [decoder.name(index) for index in indices]
    numbers = [int(re.search(r"(\d+)(\.jpg)?$", name)[1]) for name in names]
    if source == "folders":
        plain = [list(KINDS)[number % len(KINDS)] in PLAIN for number in numbers]
        assert (decoder[indices, None].lengths > 0).tolist() == plain
    read = decoder[indices, None]
    assert (read.lengths > 0).sum() + len(read.decoded) == len(indices)
    assert 0 < len(read.decoded) < len(indices)
    none = decoder[indices[:0], None]
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
    good = bytearray(encoded(photo(40, 30)))
    bad = good.copy()
    start = bad.index(b"\xff\xc4")  # its Huffman table
    bad[start + 5 : start + 21] = bytes(16)
    with pytest.raises(UserError) as error:
        decode([torch.frombuffer(each, dtype=torch.uint8) for each in (good, bad)], "ab", CPU)
    assert str(error.value).startswith("b: could not be decoded (")
    assert "\n" not in str(error.value)


def test_what_torchcodec_refuses_is_left_to_pillow(photo):
    contents = [encoded(photo(40, 30)), encoded(photo(9, 8, seed=1), "PNG")]
    images = decode(
        [torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in contents], "ab", CPU
    )
    for image, content in zip(images, contents, strict=True):
        with Image.open(io.BytesIO(content)) as opened:
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(opened.convert("RGB")))


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
    jpeg = torch.frombuffer(bytearray(encoded(photo(9, 9))), dtype=torch.uint8)
    with pytest.raises(UserError) as error:
        decode([jpeg], ["it"], CPU)
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
