"""What was run: data, parameters, software and hardware, and the choices behind them."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from pipeline.errors import one_line
from pipeline.reporting.parameters import UNUSED, agreed, parameter, uses
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.sources import Choice, FileNote, note_on
from pipeline.reporting.statistics import counted
from pipeline.reporting.tables import Table

ENVIRONMENT = (
    "python",
    "packages",
    "cpu",
    "cpu_capability",
    "threads",
    "device",
    "cuda",
    "processes",
    "precision",
    "compiled",
    "channels_last",
    "deterministic",
    "weights",
    "weights_sha256",
)
"""Facts of the provenance that two runs of the same code on the same machine share."""
FIDELITY = {
    "choice": "Choice",
    "paper": "The paper",
    "released": "Released code",
    "field": "The field",
    "ours": "What we do",
    "why": "Why",
    "in_this_run": "In this run",
}


def data_name(results: Results, notes: Sequence[FileNote]) -> str:
    """Name of the data, in words."""
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


def seeds(results: Results) -> str:
    """The number of seeds, in words."""
    count = len({cell.metrics.seed for cell in results.cells})
    return counted(count, "seed")


def data_note(results: Results, notes: Sequence[FileNote]) -> str:
    """A note that must stand beside every figure measured on this data; empty for most data."""
    note = note_on(results.cells[0].details.manifest.origin, notes)
    return f"Data: {note.name}. {note.note}" if note else ""


def data_size(results: Results) -> str:
    """Numbers of images and classes and the size of the images, in words."""
    manifest = results.cells[0].details.manifest
    counts = ", ".join(f"{sum(manifest.counts[split]):,} {split}" for split in manifest.counts)
    size = manifest.image_size
    return f"{counts} images of {len(manifest.classes)} classes, {size} x {size} pixels."


def class_names(results: Results, notes: Sequence[FileNote]) -> list[str]:
    """Names of the classes from the note on the data, if it has them; else their labels.

    Control characters are escaped.
    """
    manifest = results.cells[0].details.manifest
    note = note_on(manifest.origin, notes)
    named = note.classes.split(";") if note else []
    fitting = named if len(named) == len(manifest.classes) else manifest.classes
    return [one_line(name) for name in fitting]


def parameters(results: Results) -> Table:
    """Every parameter, with its value in the cells that use it."""
    data, shown_lines = [], []
    for section, values in results.cells[0].details.params.items():
        used = {key: _shared(parameter(results, f"{section}.{key}")) for key in values}
        data += [{"key": f"{section}.{key}", "value": value} for key, value in used.items()]
        listed = ", ".join(f"{key} {value}" for key, value in used.items())
        used_at_all = any(uses(cell, section) for cell in results.cells)
        shown_lines.append({"Parameters": section, "Values": listed if used_at_all else UNUSED})
    return Table(pd.DataFrame(data), pd.DataFrame(shown_lines))


def data(results: Results, notes: Sequence[FileNote]) -> Table:
    """The data manifest without its checksums, with the name of the data and of its classes."""
    names = {"name": data_name(results, notes), "classes": class_names(results, notes)}
    facts = [names | _data_facts(cell) for cell in results.cells]
    return _facts("Data", {"Value": facts})


def checksums(results: Results) -> Table:
    """SHA-256 of every file that the manifest names."""
    found = [dict(_digests(cell.details.manifest.model_dump())) for cell in results.cells]
    return _facts("File", {"SHA-256": found})


def environment(results: Results) -> Table:
    """Versions and hardware of training and evaluation."""
    provenance = [cell.provenance for cell in results.cells]
    return _facts(
        "Environment",
        {
            stage.capitalize(): [
                {key: facts[key] for key in ENVIRONMENT if key in facts}
                for facts in (getattr(of_cell, stage) for of_cell in provenance)
            ]
            for stage in ("training", "evaluation")
        },
    )


def _data_facts(cell: Cell) -> dict[str, Any]:
    facts = cell.details.manifest.model_dump(exclude={"checksums", "classes"})
    listed = dict(_digests(facts["origin"]))
    facts["origin"] = {
        key: value
        for key, value in facts["origin"].items()
        if key not in listed and not (isinstance(value, dict) and value.keys() <= listed.keys())
    }
    for split, counts in facts.pop("counts").items():
        low, high = min(counts), max(counts)
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        facts[f"{split} images"] = f"{sum(counts):,} ({each} per class)"
    return {key: _shared(value) for key, value in facts.items() if value != {}}


def _shared(value: Any) -> Any:
    """The value, unless it is a place on one machine, which says nothing on another."""
    if isinstance(value, str) and value.startswith("/"):
        return "a folder of the machine that ran it"
    return value


def _digests(value: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _digests(item)
        elif isinstance(item, str) and re.fullmatch("[0-9a-f]{64}", item):
            yield key, item


def _facts(heading: str, columns: dict[str, list[dict[str, Any]]]) -> Table:
    """A line for each key, with the value that all cells agree on in each of the columns."""
    every = [facts for column in columns.values() for facts in column]
    keys = dict.fromkeys(key for facts in every for key in facts)
    lines = [
        [key, *(agreed(facts.get(key) for facts in column) for column in columns.values())]
        for key in keys
    ]
    table = pd.DataFrame(lines, columns=["key", *map(str.lower, columns)])
    return Table(table, table.set_axis([heading, *columns], axis=1))


def fidelity(results: Results, ledger: Sequence[Choice]) -> Table:
    """The ledger of choices, with the values of the parameters that set them in this run."""
    lines = [
        choice.model_dump(exclude={"parameters"})
        | {"in_this_run": _values(results, choice.parameters.split())}
        for choice in ledger
    ]
    table = pd.DataFrame(lines)
    return Table(table, ledger_shown(table))


def ledger_shown(data: pd.DataFrame) -> pd.DataFrame:
    """The ledger as a page shows it: what the paper is not confirmed to do is left empty."""
    return data.replace({"paper": {"not confirmed": ""}}).rename(columns=FIDELITY)


def _values(results: Results, keys: Sequence[str]) -> str:
    """Parameters by section, such as "kurtosis: weight 1, target 1.8; data: limit 0"."""
    sections = [
        (section, ", ".join(f"{key.partition('.')[2]} {parameter(results, key)}" for key in of))
        for section, of in groupby(keys, lambda key: key.partition(".")[0])
    ]
    return "; ".join(f"{section}: {listed}" for section, listed in sections)
