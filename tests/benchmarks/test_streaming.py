"""The streaming benchmark at its smallest."""

import json
import subprocess
import sys

import numpy as np

from benchmarks.table import PAGE, RESULTS, render
from pipeline.data.sources import folders, shards
from tests.conftest import ROOT
from tests.data.conftest import Indexed


def benchmark(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_shows_the_committed_measurements():
    assert render(RESULTS) in PAGE.read_text()


def test_each_number_of_workers_is_measured(tmp_path):
    folder = Indexed(tmp_path / "images", "folders", 60).prepare()
    out = tmp_path / "streaming.json"
    options = ["--batch-size", 4, "--batches", 10, "--workers", 0, 1]
    end = benchmark("--data", folder, *options, "--out", out)
    assert end.returncode == 0, end.stderr
    result = json.loads(out.read_text())
    assert json.loads(end.stdout) == result
    assert list(result["workers"]) == ["0", "1"]
    assert result["settings"]["images"] == 45
    assert result["settings"]["decoder"] == "pillow"
    for measured in result["workers"].values():
        assert measured["images_per_second"] > 10
        assert measured["images_per_cpu_second"] > 10
        assert len(measured["mebibytes"]) == 10
        assert max(measured["mebibytes"]) < 4000


def test_enlarged_images_are_streamed_from_folders_and_shards(tmp_path):
    images = Indexed(tmp_path / "images", "folders", 60).root
    (images / "test").rename(images / "val")
    options = ["--images", images, "--out", tmp_path, "--count", 20]
    command = [sys.executable, "-m", "benchmarks.enlarged", *map(str, options)]
    subprocess.run(command, cwd=ROOT, check=True)
    for source in (folders.load(tmp_path / "folders"), shards.load(tmp_path / "shards")):
        assert (len(source.train.labels), len(source.test.labels)) == (20, 2)
        assert {image.size for _, image in source.train.load(np.arange(20))} == {(500, 375)}


def test_images_in_memory_are_refused(tiny_digits):
    end = benchmark("--data", tiny_digits)
    assert end.returncode == 1
    assert end.stderr == (
        f"error: --data {tiny_digits}: is no index, its images are not streamed\n"
    )
