"""The evaluated cells of a table: what `pipeline.reporting.loading` reads and reports show."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.names import NETWORKS
from pipeline.reporting.rows import ROWS, Row, row_named
from pipeline.reporting.schema import Details, Metrics, Provenance


@dataclass(frozen=True)
class Cell:
    """One network, row and seed."""

    name: str
    metrics: Metrics
    details: Details
    curves: pd.DataFrame
    step_one: pd.DataFrame | None
    """Curves of the first of two steps."""
    kurtosis: pd.DataFrame
    """Kurtosis of each layer over the epochs of both steps; those of step one may be missing."""
    provenance: Provenance
    training: tuple[dict[str, Any], ...]
    """Provenance of its training, one for each step."""
    outcomes: np.ndarray
    """Whether each test image was classified correctly, bool (images,)."""
    feature_maps: dict[str, np.ndarray]

    @property
    def all_curves(self) -> pd.DataFrame:
        """Curves of both steps, if there were two, with the epochs counted on."""
        if self.step_one is None:
            return self.curves
        second = self.curves.assign(epoch=self.curves["epoch"] + len(self.step_one))
        return pd.concat([self.step_one, second], ignore_index=True)

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of the weights and of the activations in the convolutions that may be binary."""
        binarization = self.details.architecture.get("binarization")
        if not binarization:
            return 32, 32
        return (1 if binarization["weights"] else 32, 1 if binarization["activations"] else 32)

    @property
    def schedules(self) -> tuple[str, ...]:
        """Sections of the params whose schedules trained it, or what it is fine-tuned from."""
        if not self.row.binary:
            return ("teacher",)
        return ("step_one", "step_two") if self.details.step == "two" else ("student",)

    @property
    def row(self) -> Row:
        """The row of the table it belongs to."""
        return row_named(self.metrics.row)


@dataclass(frozen=True)
class Results:
    """The evaluated cells of one data set, by network, row and seed."""

    dataset: str
    cells: tuple[Cell, ...]

    @property
    def networks(self) -> list[str]:
        """Networks with at least one evaluated cell; those of the paper first."""
        found = {cell.metrics.network for cell in self.cells}
        known = [network for network in NETWORKS if network in found]
        return known + sorted(found - set(known))

    def rows(self, network: str) -> Iterator[tuple[Row, list[Cell]]]:
        """Every row of the table with its cells by seed; no cells where it was not run."""
        for row in ROWS:
            yield row, self.seeds(network, row.name)

    def seeds(self, network: str, row: str) -> list[Cell]:
        """The cells of one row, by seed."""
        cells = (c for c in self.cells if (c.metrics.network, c.metrics.row) == (network, row))
        return sorted(cells, key=lambda cell: cell.metrics.seed)

    def nearest(self, network: str, row: str) -> list[Cell]:
        """The cells of one row, by seed; if the network has none, those of its teacher.

        This finds the 32-bit rows where teacher and student are different networks.
        """
        students = [cell for cell in self.cells if cell.metrics.network == network]
        teachers = sorted({cell.details.teacher or "" for cell in students})
        networks = [network, *(name.partition("-")[0] for name in teachers)]
        found = (self.seeds(each, row) for each in networks)
        return next((cells for cells in found if cells), [])

    def run_rows(self, network: str) -> list[tuple[Row, list[Cell]]]:
        """The rows that were run, with their cells by seed."""
        return [(row, cells) for row, cells in self.rows(network) if cells]

    @property
    def published_dataset(self) -> str:
        """Name of the data in published.csv: cifar10 for the tables cifar10 and cifar10-full."""
        return self.dataset.partition("-")[0]

    @property
    def evaluation(self) -> dict[str, Any]:
        """Parameters of the evaluation, those of the first cell."""
        return self.cells[0].details.params["evaluation"]
