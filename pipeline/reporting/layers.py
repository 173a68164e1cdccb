"""Weight statistics of each layer, averaged over the seeds of a row."""

from dataclasses import dataclass
from typing import Any

from pipeline.reporting.results import Results
from pipeline.reporting.rows import Row
from pipeline.reporting.statistics import summarize


@dataclass(frozen=True)
class LayerMeans:
    """One layer of one row; a mean is None where no seed has the statistic."""

    row: Row
    layer: str
    elements: int
    binary: bool
    kurtosis: float
    target: float | None
    near_zero_share: float
    binarization_error: float
    teacher_distance: float | None


MEANS = ("kurtosis", "target", "near_zero_share", "binarization_error", "teacher_distance")


def layer_means(results: Results, network: str) -> list[LayerMeans]:
    """Every regularized layer of every row that was run, in module order."""
    found = []
    for row, cells in results.rows(network):
        for layer in cells[0].details.layers if cells else []:
            same = [
                other for cell in cells for other in cell.details.layers if other.name == layer.name
            ]
            means: dict[str, Any] = {}
            for key in MEANS:
                values = [getattr(other, key) for other in same]
                summary = summarize([value for value in values if value is not None])
                means[key] = summary.mean if summary else None
            found.append(LayerMeans(row, layer.name, layer.elements, layer.binary, **means))
    return found
