"""The parameters that made a run, and the values on which runs agree or differ."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.names import LOSSES
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.statistics import counted

UNUSED = "not used by any row that was run"
SHOWN_ENTRIES = 20
"""A longer list is shown by its first entries and their number."""


def parameter(results: Results, key: str) -> str:
    """Value of `section.key` in the cells that use it, with counts where they differ."""
    return agreed(_used(results, key))


def values_of(results: Results, key: str) -> list[Any]:
    """The different values of `section.key` in the cells that use it."""
    found: list[Any] = []
    for value in _used(results, key):
        if value not in found:
            found.append(value)
    return found


def _used(results: Results, key: str) -> list[Any]:
    section, _, name = key.partition(".")
    used = (cell.details.params for cell in results.cells if uses(cell, section))
    return [params.get(section, {}).get(name) for params in used]


def uses(cell: Cell, section: str) -> bool:
    """Whether a section of params.yaml decides the training or evaluation of this cell."""
    if section in LOSSES:
        return section in cell.details.losses
    binary, two = cell.row.binary, cell.details.step == "two"
    used = {
        "binarization": binary,
        "student": binary and not two,
        "step_one": two,
        "step_two": two,
        "teacher": cell.row.name == "full-precision" and not cell.details.pretrained,
        "pretrained": cell.details.pretrained,
        "finetune": cell.row.continues is not None,
    }
    return used.get(section, True)


def epoch_counts(cells: Sequence[Cell]) -> set[int]:
    """Epochs of the schedules that trained these cells, or what these are fine-tuned from."""
    return {
        sum(cell.details.params[section]["epochs"] for section in cell.schedules) for cell in cells
    }


def epochs(cells: Sequence[Cell]) -> str:
    """`epoch_counts` in words."""
    counts = epoch_counts(cells)
    fewest, most = min(counts), max(counts)
    return f"{fewest} epochs" if fewest == most else f"{fewest} to {most} epochs"


def agreed(values: Iterable[Any]) -> str:
    """The value that all runs share, or each value with the number of runs that have it."""
    counts = Counter(shown(value) for value in values)
    if not counts:
        return UNUSED
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{text} ({counted(count, 'run')})" for text, count in counts.items())


def shown(value: Any) -> str:
    """A parameter or a fact as text."""
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        first = value if len(value) <= SHOWN_ENTRIES else [*value[:3], f"... ({len(value):,})"]
        return ", ".join(shown(item) for item in first)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) or '""'
