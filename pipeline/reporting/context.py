"""What was run: data, parameters, software and hardware, and the choices behind them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from pipeline.names import LOSSES
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.sources import Choice, FileNote, note_on
from pipeline.reporting.tables import Table

UNUSED = "not used by any row that was run"
LONG = 20
"""A longer list is shown by its first entries and their number."""


def data_name(results: Results, notes: Sequence[FileNote]) -> str:
    """What the images are, in words."""
    manifest = results.cells[0].details.manifest
    note = note_on(manifest.origin, notes)
    if note:
        return note.name
    return {
        "digits": "scikit-learn's handwritten digits",
        "cifar10": "CIFAR-10",
        "folders": f"{results.dataset} (class folders)",
        "shards": f"{results.dataset} (Parquet shards)",
    }.get(manifest.source, results.dataset)


def data_note(results: Results, notes: Sequence[FileNote]) -> str:
    """What must stand beside every figure measured on this data; empty for most."""
    note = note_on(results.cells[0].details.manifest.origin, notes)
    return f"Data: {note.name}. {note.note}" if note else ""


def data_size(results: Results) -> str:
    """Numbers of images and classes, and their size."""
    manifest = results.cells[0].details.manifest
    counts = ", ".join(f"{sum(manifest.counts[split]):,} {split}" for split in manifest.counts)
    size = manifest.image_size
    return f"{counts} images of {len(manifest.classes)} classes, {size} x {size} pixels."


def parameters(results: Results) -> Table:
    """Every parameter, with the value the cells that use it were run with."""
    data, shown_lines = [], []
    for section, values in results.cells[0].details.params.items():
        used = {key: parameter(results, f"{section}.{key}") for key in values}
        data += [{"key": f"{section}.{key}", "value": value} for key, value in used.items()]
        listed = ", ".join(f"{key} {value}" for key, value in used.items())
        used_at_all = any(uses(cell, section) for cell in results.cells)
        shown_lines.append({"Parameters": section, "Values": listed if used_at_all else UNUSED})
    return Table(pd.DataFrame(data), pd.DataFrame(shown_lines))


def parameter(results: Results, key: str) -> str:
    """Value of `section.key` in the cells that use it, with counts where they differ."""
    section, _, name = key.partition(".")
    used = [cell.details.params for cell in results.cells if uses(cell, section)]
    return agreed(params.get(section, {}).get(name) for params in used)


def uses(cell: Cell, section: str) -> bool:
    """Whether a section of params.yaml has a say in the training or evaluation of this cell."""
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
        "finetune": cell.row.name == "kurtosis",
    }
    return used.get(section, True)


def data(results: Results) -> Table:
    """The data manifest."""
    return _agreements("Data", [_data_facts(cell) for cell in results.cells])


def environment(results: Results) -> Table:
    """Code revision, versions and hardware."""
    return _agreements("Environment", [cell.details.provenance for cell in results.cells])


def _data_facts(cell: Cell) -> dict[str, Any]:
    facts = cell.details.manifest.model_dump()
    for split, counts in facts.pop("counts").items():
        low, high = min(counts), max(counts)
        each = f"{low}" if low == high else f"{low} to {high}"
        facts[f"{split} images"] = f"{sum(counts):,} ({each} per class)"
    return facts


def _agreements(heading: str, facts: list[dict[str, Any]]) -> Table:
    keys = dict.fromkeys(key for of_cell in facts for key in of_cell)
    lines = [(key, agreed(of_cell.get(key) for of_cell in facts)) for key in keys]
    table = pd.DataFrame(lines, columns=["key", "value"])
    return Table(table, table.rename(columns={"key": heading, "value": "Value"}))


def fidelity(results: Results, ledger: Sequence[Choice]) -> Table:
    """The ledger of choices, with the values of the parameters that set them in this run."""
    data, shown_lines = [], []
    for choice in ledger:
        values = _values(results, choice.parameters.split())
        data.append({**choice.model_dump(exclude={"parameters"}), "in_this_run": values})
        shown_lines.append(
            {
                "Choice": choice.choice,
                "The paper": choice.paper,
                "Released code": choice.released,
                "The field": choice.field,
                "What we do": choice.ours,
                "Why": choice.why,
                "In this run": values,
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown_lines))


def _values(results: Results, keys: Sequence[str]) -> str:
    """Parameters by section, such as "kurtosis: weight 1, target 1.8; data: limit 0"."""
    sections = [
        (section, ", ".join(f"{key.partition('.')[2]} {parameter(results, key)}" for key in of))
        for section, of in groupby(keys, lambda key: key.partition(".")[0])
    ]
    return "; ".join(f"{section}: {listed}" for section, listed in sections)


def agreed(values: Iterable[Any]) -> str:
    """The value all runs share, or each value with the number of runs that have it."""
    counts = Counter(shown(value) for value in values)
    if not counts:
        return UNUSED
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(
        f"{text} ({count} run{'s' if count > 1 else ''})" for text, count in counts.items()
    )


def shown(value: Any) -> str:
    """A parameter or a fact as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        first = value if len(value) <= LONG else [*value[:3], f"... ({len(value):,})"]
        return ", ".join(shown(item) for item in first)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "none"
    return str(value) or '""'
