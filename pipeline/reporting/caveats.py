"""What a reader must know before quoting a figure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.errors import one_line
from pipeline.params import Params
from pipeline.reporting.context import data_note
from pipeline.reporting.parameters import agreed, epochs, parameter, shown, values_of
from pipeline.reporting.results import Results
from pipeline.reporting.rows import network_label
from pipeline.reporting.sources import FileNote


def caveats(results: Results, params: Params, notes: Sequence[FileNote]) -> list[str]:
    """The caveats of a table, one sentence each."""
    return [*_about_seeds(results), *about_data(results, notes), *_about_runs(results, params)]


def debug_banner(results: Results) -> str:
    """A warning that names the cells that are no results; empty if there are none."""
    names = debugged(results)
    if not names:
        return ""
    return (
        "DEBUG RUN, NO RESULT: a debug switch of the params was on in "
        f"{len(names)} of {len(results.cells)} runs ({', '.join(names)}). "
        "No figure below that includes them means anything."
    )


def debugged(results: Results) -> list[str]:
    """Names of the cells run with a debug switch on, which are no results."""
    return [cell.name for cell in results.cells if cell.metrics.debug]


def mixed(results: Results) -> Iterator[str]:
    """Sentences on what should not differ between the runs but does: data and parameters."""
    manifests = {cell.details.manifest.model_dump_json() for cell in results.cells}
    if len(manifests) > 1:
        yield f"The rows were not all run on the same data: {len(manifests)} manifests."
    differing = [
        f"{key} {parameter(results, key)}"
        for key in _keys(cell.details.params for cell in results.cells)
        if not key.startswith("data.") and len(values_of(results, key)) > 1
    ]
    if differing:
        yield f"The rows were not all run with the same parameters: {'; '.join(differing)}."


def _keys(params: Iterable[dict[str, dict[str, Any]]]) -> list[str]:
    found = (f"{section}.{key}" for each in params for section, of in each.items() for key in of)
    return list(dict.fromkeys(found))


def _about_seeds(results: Results) -> Iterator[str]:
    for network in results.networks:
        rows = {
            row.label: [cell for cell in cells if not cell.details.pretrained]
            for row, cells in results.rows(network)
        }
        if any(cell.details.pretrained for cell in results.seeds(network, "full-precision")):
            yield (
                f"{network_label(network)}: its full-precision weights were read, not trained here."
                " All its seeds are one network, and it may have been trained on the validation "
                "images."
            )
        counts = {label: len(cells) for label, cells in rows.items() if cells}
        if set(counts.values()) == {1}:
            trained = epochs([cell for cells in rows.values() for cell in cells])
            yield (
                f"{network_label(network)}: {trained} and one seed. Treat this as a smoke test of "
                "the pipeline, not as evidence about the method."
            )
        elif len(set(counts.values())) > 1:
            groups: dict[int, list[str]] = {}
            for label, count in counts.items():
                groups.setdefault(count, []).append(label)
            listed = "; ".join(f"{count}: {', '.join(of)}" for count, of in groups.items())
            yield f"{network_label(network)}: the rows have different numbers of seeds ({listed})."


def about_data(results: Results, notes: Sequence[FileNote]) -> Iterator[str]:
    """Sentences on the data of the runs, where it is not the whole usual data or not the same."""
    yield from mixed(results)
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
    training = [cell.provenance.training for cell in results.cells]
    for key, name in (("device", "devices"), ("cpu", "CPUs")):
        found = [facts.get(key) for facts in training]
        if len(set(found)) > 1:
            yield f"The runs were trained on several {name}: {one_line(agreed(found))}."
    loose = [facts for facts in training if facts.get("deterministic") is False]
    if loose:
        yield (
            f"{len(loose)} of {len(results.cells)} runs did not use deterministic algorithms: "
            "they are not repeatable to the bit."
        )
    yield from _about_stale(results, params)


def _about_stale(results: Results, params: Params) -> Iterator[str]:
    """Parameters that have changed since the runs, without those of the data: see its manifest."""
    now = params.recorded()
    changes = []
    for key in _keys([now, *(cell.details.params for cell in results.cells)]):
        section, _, name = key.partition(".")
        value = now.get(section, {}).get(name)
        if section != "data" and any(other != value for other in values_of(results, key)):
            changes.append(f"{key} was {parameter(results, key)}, is {shown(value)}")
    if changes:
        yield f"The params file has changed since these runs: {'; '.join(changes)}."
