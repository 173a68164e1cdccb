"""What a reader must know before quoting a figure."""

from collections.abc import Iterator, Sequence
from html import escape

from pipeline.params import Params
from pipeline.reporting.context import agreed, data_note, parameter, shown, uses
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import network_label
from pipeline.reporting.sources import FileNote


def caveats(results: Results, params: Params, notes: Sequence[FileNote]) -> list[str]:
    """What a reader must know before quoting a figure; one sentence each."""
    return [*_about_seeds(results), *_about_data(results, notes), *_about_runs(results, params)]


def debug_banner(results: Results) -> str:
    """HTML that says loudly which cells are no results; empty if all are."""
    names = debugged(results)
    if not names:
        return ""
    return (
        '<div class="banner">DEBUG RUN, NO RESULT: a debug switch of the params was on in '
        f"{len(names)} of {len(results.cells)} runs ({escape(', '.join(names))}). "
        "No figure below that includes them means anything.</div>"
    )


def debugged(results: Results) -> list[str]:
    """Names of the cells run with a debug switch on, which are no results."""
    return [cell.name for cell in results.cells if cell.metrics.debug]


def _about_seeds(results: Results) -> Iterator[str]:
    for network in results.networks:
        rows = {
            row.label: [cell for cell in cells if not cell.details.pretrained]
            for row, cells in results.rows(network)
        }
        if any(cell.details.pretrained for cell in results.seeds(network, "full-precision")):
            yield (
                f"{network_label(network)}: its weights were read, not trained here: the seeds of "
                "its full precision are one network, and the validation images may be among those "
                "it was trained on."
            )
        counts = {label: len(cells) for label, cells in rows.items() if cells}
        if set(counts.values()) == {1}:
            epochs = _epochs([cell for cells in rows.values() for cell in cells])
            yield (
                f"{network_label(network)}: {epochs}, one seed: shows the pipeline, not the method."
            )
        elif len(set(counts.values())) > 1:
            listed = ", ".join(f"{label} {count}" for label, count in counts.items())
            yield f"{network_label(network)}: rows have different numbers of seeds ({listed})."


def _epochs(cells: Sequence[Cell]) -> str:
    """Epochs of the rows that are trained from the start."""
    counts = [
        sum(cell.details.params[section]["epochs"] for section in _from_the_start(cell))
        for cell in cells
    ]
    fewest, most = min(counts), max(counts)
    return f"{fewest} epochs" if fewest == most else f"{fewest} to {most} epochs"


def _from_the_start(cell: Cell) -> tuple[str, ...]:
    """Sections of the params with the epochs of a cell, or of what it is a fine-tune of."""
    if not cell.row.binary:
        return ("teacher",)
    return ("step_one", "step_two") if cell.details.step == "two" else ("student",)


def _about_data(results: Results, notes: Sequence[FileNote]) -> Iterator[str]:
    manifests = {cell.details.manifest.model_dump_json() for cell in results.cells}
    if len(manifests) > 1:
        yield f"The rows were not all run on the same data: {len(manifests)} manifests."
    note = data_note(results, notes)
    if note:
        yield note
    limit = parameter(results, "data.limit")
    if limit != "0":
        yield (
            f"Only a part of the data was used (data.limit: {limit}): not comparable with "
            "published figures."
        )


def _about_runs(results: Results, params: Params) -> Iterator[str]:
    for key, name in (("revision", "code revisions"), ("device", "devices"), ("cpu", "CPUs")):
        found = [cell.details.provenance.get(key) for cell in results.cells]
        if len(set(found)) > 1:
            yield f"Mixed {name}: {agreed(found)}."
    unclean = [cell for cell in results.cells if cell.details.provenance.get("clean") is not True]
    if unclean:
        yield (
            f"{len(unclean)} of {len(results.cells)} runs were not made from a clean checkout: "
            "the revision does not say all about their code."
        )
    loose = [c for c in results.cells if not c.details.provenance.get("deterministic")]
    if loose:
        yield (
            f"{len(loose)} of {len(results.cells)} runs did not use deterministic algorithms: "
            "they are not repeatable to the bit."
        )
    yield from _about_stale(results, params)


def _about_stale(results: Results, params: Params) -> Iterator[str]:
    """Parameters that changed since; those of the data are left to its manifest."""
    now = params.recorded()
    every = [now, *(cell.details.params for cell in results.cells)]
    keys = dict.fromkeys(
        (section, key) for each in every for section, values in each.items() for key in values
    )
    changes = []
    for section, key in keys:
        if section == "data":
            continue
        value = now.get(section, {}).get(key)
        used = [cell.details.params for cell in results.cells if uses(cell, section)]
        found = [params.get(section, {}).get(key) for params in used]
        if any(other != value for other in found):
            changes.append(f"{section}.{key} was {agreed(found)}, is {shown(value)}")
    if changes:
        yield f"Made with other parameters than the params file holds now: {'; '.join(changes)}."
