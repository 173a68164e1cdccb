"""The benchmark of exported networks at its smallest."""

import os
import sys

import pytest
import torch

from benchmarks import inference, paired
from benchmarks.table import render
from pipeline.device import PORTABLE_ARITHMETIC
from pipeline.reporting.speed import FORMS, read_measurements


@pytest.fixture(autouse=True)
def _restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_report_and_the_page_read_what_it_writes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(inference, "SECONDS_PER_MEASUREMENT", 0.01)
    monkeypatch.setattr(paired, "REST", 0)
    out = tmp_path / "a-machine/inference.json"
    monkeypatch.setattr(sys, "argv", f"inference resnet20 --rounds 3 --out {out}".split())

    inference.main()
    assert not PORTABLE_ARITHMETIC.keys() & os.environ.keys(), "it may use what the CPU has"

    [measurement] = read_measurements(tmp_path)
    assert measurement.hardware.threads == 1
    assert [(each.channels, each.image_size) for each in measurement.networks] == [(1, 16), (3, 32)]
    for each in measurement.networks:
        binary = each.sizes["binary"]
        assert 8 * binary.weights_bytes == pytest.approx(binary.counted_bits, rel=0.01)
        for count, batch in each.batches.items():
            assert list(batch.times) == list(FORMS)
            for times in batch.times.values():
                low, middle, high = (
                    getattr(times.milliseconds, end) for end in ("min", "median", "max")
                )
                assert 0 < low <= middle <= high
                rate = times.images_per_second.median
                assert rate == pytest.approx(1e3 * int(count) / middle, rel=1e-3)
    page = render(tmp_path)
    assert page.count("| resnet20, ") == 2 * 2 * len(FORMS)
