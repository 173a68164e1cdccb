from functools import reduce
from operator import getitem
from pathlib import Path

import pytest

from pipeline.artifacts import write_json
from pipeline.errors import UserError
from pipeline.reporting.loading import load_results
from pipeline.reporting.speed import measured_cost, measured_on, read_measurements


def times(milliseconds: float, batch: int) -> dict:
    """A spread of a tenth to either side."""
    spread = {"median": milliseconds, "min": 0.9 * milliseconds, "max": 1.1 * milliseconds}
    middle, low, high = (1e3 * batch / spread[key] for key in ("median", "max", "min"))
    rates = {"median": middle, "min": low, "max": high}
    return {"milliseconds": spread, "images_per_second": rates, "cpu_milliseconds": spread}


def measurement(**changes: object) -> dict:
    batches = {
        str(batch): {
            "times": {
                "binary": times(0.4 * batch, batch),
                "full precision": times(1.2 * batch, batch),
                "full precision in torch": times(2.5 * batch, batch),
            },
            "binary is faster": {},
        }
        for batch in (1, 32)
    }
    sizes = {
        "binary": {"weights_bytes": 43_932, "graph_bytes": 90_000, "counted_bits": 351_456},
        "full precision": {"weights_bytes": 1_081_000, "graph_bytes": 8_000, "counted_bits": 1},
    }
    network = {"network": "resnet20", "channels": 3, "image_size": 16}
    network |= {"sizes": sizes, "batches": batches} | changes
    hardware = {"cpu": "A Processor", "cpu_capability": "AVX2", "threads": 1}
    hardware |= {"openvino": "2026.4.1-22982-e213", "packages": {"torch": "2.15.0"}}
    return {"hardware": hardware, "date": "2026-11-25", "settings": {}, "networks": [network]}


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    write_json(tmp_path / "benchmarks/a-machine/inference.json", measurement())
    write_json(tmp_path / "benchmarks/a-machine/terms.json", {})
    return tmp_path / "benchmarks"


def test_what_was_measured_stands_beside_its_twins(shared_results: Path, benchmarks: Path) -> None:
    found = read_measurements(benchmarks)
    table = measured_cost(load_results(shared_results), "resnet20", found)
    assert table is not None
    shown = table.shown.set_index("Network")
    assert list(shown.index) == [
        "Binary, OpenVINO",
        "Full precision, OpenVINO",
        "Full precision, torch",
    ]
    assert shown.loc["Binary, OpenVINO"].tolist() == [
        "1",
        "43,932",
        "90,000",
        "0.400 (0.360 to 0.440)",
        "2,500 (2,273 to 2,778)",
        "12.800 (11.520 to 14.080)",
        "2,500 (2,273 to 2,778)",
    ]
    assert shown.loc["Full precision, torch", "Weights, bytes"] == "-"
    assert table.data["batch_32_milliseconds_median"].tolist() == pytest.approx([12.8, 38.4, 80])
    assert measured_on(found) == (
        "A Processor (AVX2), 1 thread, OpenVINO 2026.4.1, torch 2.15.0, 2026-11-25."
    )


@pytest.mark.parametrize(
    "other", [{"image_size": 32}, {"channels": 1}, {"network": "resnet18"}], ids=str
)
def test_other_networks_and_images_are_left_out(
    shared_results: Path, tmp_path: Path, other: dict
) -> None:
    write_json(tmp_path / "a-machine/inference.json", measurement(**other))
    results = load_results(shared_results)
    assert measured_cost(results, "resnet20", read_measurements(tmp_path)) is None
    assert measured_cost(results, "resnet20", read_measurements(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("hardware", "packages", "torch"), "hardware.packages.torch is missing"),
        (("networks", 0, "batches", "1", "times", "binary"), "Value error, binary is missing"),
    ],
)
def test_a_file_that_lacks_something_is_named(benchmarks: Path, place: tuple, message: str) -> None:
    path = benchmarks / "a-machine/inference.json"
    content = measurement()
    reduce(getitem, place[:-1], content).pop(place[-1])
    write_json(path, content)
    with pytest.raises(UserError, match=rf"^{path}: .*{message}"):
        read_measurements(benchmarks)


def test_a_batch_size_that_is_no_number_is_named(benchmarks: Path) -> None:
    path = benchmarks / "a-machine/inference.json"
    content = measurement()
    content["networks"][0]["batches"]["1_x"] = content["networks"][0]["batches"]["1"]
    write_json(path, content)
    with pytest.raises(UserError, match=rf"^{path}: networks.0.batches.1_x.\[key\] is '1_x': Stri"):
        read_measurements(benchmarks)


def test_a_damaged_file_is_named(benchmarks: Path) -> None:
    path = benchmarks / "a-machine/inference.json"
    write_json(path, measurement(image_size="large"))
    with pytest.raises(UserError, match=rf"^{path}: networks.0.image_size is 'large': Input"):
        read_measurements(benchmarks)
