"""A real archive of the official layout, but of 70 images; its MD5 sums are patched in."""

import hashlib
import os
import pickle
import tarfile
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from pipeline.data.sources.registry import load_source
from pipeline.errors import UserError

CLASSES = [f"class {label}" for label in range(10)]
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 3, 32, 32), np.uint8)
LABELS = [index % 10 for index in range(70)]


@pytest.fixture
def archive(tmp_path, monkeypatch):
    batches = tmp_path / "made" / CIFAR10.base_folder
    batches.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    starts = [0, 10, 20, 30, 40, 50, 70]
    contents = {
        name: {"data": PIXELS[first:last].reshape(-1, 3072), "labels": LABELS[first:last]}
        for name, first, last in zip(names, starts, starts[1:], strict=False)
    } | {"batches.meta": {"label_names": CLASSES}}
    sums = {}
    for name, content in contents.items():
        (batches / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((batches / name).read_bytes()).hexdigest()
    path = tmp_path / "made" / CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(batches, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/no-server-here.tar.gz")
    return path


def check(source):
    assert source.classes == tuple(CLASSES)
    assert source.train.labels.tolist() == LABELS[:50]
    assert source.test.labels.tolist() == LABELS[50:]
    np.testing.assert_array_equal(source.train.decode(np.array([7, 3]), 32), PIXELS[[7, 3]])
    np.testing.assert_array_equal(source.test.decode(np.arange(20), 32), PIXELS[50:])
    assert source.origin["archive"] == "cifar-10-python.tar.gz"
    assert source.origin["md5"] == CIFAR10.tgz_md5


def test_an_archive_in_the_folder_is_used_without_network(archive, data, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    archive.rename(here / archive.name)
    check(load_source(data(source="cifar10", location=str(here))))


def test_an_unpacked_archive_is_used_without_network(archive, data):
    archive.unlink()
    check(load_source(data(source="cifar10", location=str(archive.parent))))


def test_the_archive_is_downloaded_into_the_default_folder(archive, data, tmp_path, monkeypatch):
    handler = partial(SimpleHTTPRequestHandler, directory=archive.parent)
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(CIFAR10, "url", url)
        monkeypatch.chdir(tmp_path)
        check(load_source(data(source="cifar10")))
        server.shutdown()
    assert Path("data/downloads", archive.name).is_file()


def test_without_network_the_file_and_its_place_are_named(archive, data, tmp_path):
    with pytest.raises(UserError) as raised:
        load_source(data(source="cifar10", location=str(tmp_path / "empty")))
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'empty'}: ")
    assert f"put cifar-10-python.tar.gz with MD5 {CIFAR10.tgz_md5}" in message
    assert "\n" not in message


def test_a_pipe_in_the_place_of_the_archive_is_not_waited_for(archive, data):
    archive.unlink()
    os.mkfifo(archive)
    with pytest.raises(UserError, match=rf"{archive}: could not be read: not a regular file$"):
        load_source(data(source="cifar10", location=str(archive.parent)))


def test_a_corrupt_archive_is_named(archive, data):
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz: MD5 is \w{32}; replace it by"):
        load_source(data(source="cifar10", location=str(archive.parent)))
