"""Measured size and speed of exported networks, beside what the cost table counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, Field, field_validator

from pipeline.reporting.results import Results
from pipeline.reporting.schema import read_as
from pipeline.reporting.statistics import counted, number
from pipeline.reporting.tables import Table

FORMS = {
    "binary": "Binary, OpenVINO",
    "full precision": "Full precision, OpenVINO",
    "full precision in torch": "Full precision, torch",
}
QUANTITIES = {"milliseconds": ("ms", ",.3f"), "images_per_second": ("Images/s", ",.0f")}
"""Heading and format of each quantity."""
NOT_MEASURED = (
    "Bytes on disk and time were not measured for this network and images of this size; "
    "python -m benchmarks.inference measures them."
)


class Spread(BaseModel):
    """Median, least and greatest over the rounds."""

    median: float
    min: float
    max: float


class Times(BaseModel):
    """Time of a batch and what follows from it."""

    milliseconds: Spread
    images_per_second: Spread


class Batch(BaseModel):
    """All networks at one batch size."""

    times: dict[str, Times]

    @field_validator("times")
    @classmethod
    def _has_every_form(cls, times: dict[str, Times]) -> dict[str, Times]:
        missing = [form for form in FORMS if form not in times]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return times


class Sizes(BaseModel):
    """Bytes of the two files of an export, weights and graph, and bits counted for the weights."""

    weights_bytes: int
    graph_bytes: int
    counted_bits: int


class Measured(BaseModel):
    """A network and its full-precision twin, for images of one shape."""

    network: str
    channels: int
    image_size: int
    sizes: dict[str, Sizes]
    batches: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]*$")], Batch]


class Packages(BaseModel):
    """Versions of packages."""

    torch: str


class Hardware(BaseModel):
    """Machine and versions of a measurement."""

    cpu: str
    cpu_capability: str
    threads: int
    openvino: str
    packages: Packages


class Measurement(BaseModel):
    """inference.json, which `python -m benchmarks.inference` writes: one run on one machine.

    What the report does not show is ignored.
    """

    hardware: Hardware
    date: str
    networks: tuple[Measured, ...]


def read_measurements(folder: Path) -> list[Measurement]:
    """Read <folder>/<machine>/inference.json of every machine, in the order of their names.

    Raises:
        UserError: a file is not what the benchmark writes.
    """
    return [read_as(Measurement, path) for path in sorted(folder.glob("*/inference.json"))]


def measured_cost(
    results: Results, network: str, measurements: Sequence[Measurement]
) -> Table | None:
    """Bytes and time of a network's exported form, beside its twin in the same engine and in torch.

    Returns:
        The table; None if they were not measured for images of this table's size.
    """
    manifest = results.cells[0].details.manifest
    wanted = (network, manifest.channels, manifest.image_size)
    lines = [
        {"form": form, "threads": measurement.hardware.threads, **_figures(each, form)}
        for measurement in measurements
        for each in measurement.networks
        if (each.network, each.channels, each.image_size) == wanted
        for form in FORMS
    ]
    data = pd.DataFrame(lines)
    return Table(data, pd.DataFrame([_shown(line) for line in lines])) if lines else None


def _figures(measured: Measured, form: str) -> dict[str, Any]:
    size = measured.sizes.get(form)
    figures: dict[str, Any] = {key: getattr(size, key, None) for key in Sizes.model_fields}
    for count, batch in measured.batches.items():
        for key, spread in batch.times[form]:
            figures |= {f"batch_{count}_{key}_{end}": value for end, value in spread}
    return figures


def _shown(line: dict[str, Any]) -> dict[str, str]:
    shown = {
        "Network": FORMS[line["form"]],
        "Threads": str(line["threads"]),
        "Weights, bytes": number(line["weights_bytes"], ",d"),
        "Graph, bytes": number(line["graph_bytes"], ",d"),
    }
    for key in line:
        if key.endswith("_median"):
            name = key.removesuffix("_median")
            _, count, quantity = name.split("_", 2)
            heading, style = QUANTITIES[quantity]
            median, low, high = (f"{line[f'{name}_{end}']:{style}}" for end in Spread.model_fields)
            shown[f"{heading}, batch of {count}"] = f"{median} ({low} to {high})"
    return shown


def measured_on(measurements: Sequence[Measurement]) -> str:
    """Machine, versions and date of the measurements, in words."""
    return " ".join(
        f"{each.hardware.cpu} ({each.hardware.cpu_capability}), "
        f"{counted(each.hardware.threads, 'thread')}, OpenVINO "
        f"{each.hardware.openvino.partition('-')[0]}, torch {each.hardware.packages.torch}, "
        f"{each.date}."
        for each in measurements
    )
