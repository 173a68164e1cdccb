"""The results of a table and of its variants, as levels of the questions that the study asks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import UserError
from pipeline.reporting.listing import evaluated
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import BINARY, COMPLETE, CONTROL, REAL, TUNED
from pipeline.variants import parse_setting

Scale = Literal["linear", "log", "names"]


@dataclass(frozen=True)
class Without:
    """A level at which the loss is missing: rows of the table stand for those of the question."""

    label: str
    rows: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Question:
    """Whether the value of one parameter matters."""

    name: str
    key: str
    parameter: str
    """Its name in a sentence."""
    rows: tuple[str, ...]
    """Rows in whose trainings the parameter takes part."""
    scale: Scale
    without: tuple[Without, ...] = ()
    by_validation: bool = False
    """The question is which value to choose, which no test image may decide."""


NO_KURTOSIS = {TUNED: CONTROL, COMPLETE: "binary-mimicking"}
QUESTIONS = (
    Question(
        "target",
        "kurtosis.target",
        "the kurtosis target K_T",
        (TUNED, COMPLETE),
        "linear",
        (
            Without("none", NO_KURTOSIS),
            Without("student alone", {COMPLETE: "complete-untuned"}),
        ),
    ),
    Question(
        "kurtosis-weight",
        "kurtosis.weight",
        "the weight lambda of the kurtosis loss",
        (TUNED, COMPLETE),
        "log",
        (Without("0", NO_KURTOSIS),),
    ),
    Question(
        "mimicking-weight",
        "mimicking.weight",
        "the weight beta of WDM",
        (COMPLETE,),
        "log",
    ),
    Question("form", "mimicking.form", "the form of WDM", (COMPLETE,), "names"),
    Question(
        "sign-gradient",
        "binarization.sign_gradient",
        "the gradient of the sign",
        (BINARY, COMPLETE),
        "names",
    ),
    Question(
        "block",
        "network.full_precision_block",
        "the block of the full-precision network",
        (REAL, TUNED, COMPLETE),
        "names",
        by_validation=True,
    ),
    Question(
        "activation",
        "network.full_precision_activation",
        "the nonlinearity of the full-precision network",
        (REAL, TUNED, COMPLETE),
        "names",
        by_validation=True,
    ),
)


@dataclass(frozen=True)
class Level:
    """One value of a parameter, and what was run with it."""

    label: str
    value: float | str | None
    """None where the loss is missing."""
    default: bool
    cells: Mapping[str, Sequence[Cell]]
    """Cells of each row of the question, seed by seed."""


@dataclass(frozen=True)
class Study:
    """A table, its variants and the levels of each question."""

    table: Results
    variants: Mapping[str, Results]
    network: str
    seeds: tuple[int, ...]
    """Seeds of the variants. The levels have no others, although the table may have more."""
    levels: Mapping[Question, Sequence[Level]]
    """Levels of each question that has a variant: numbers rise, and missing losses come last."""


def load_study(table: Path, variants: Path) -> Study:
    """Read a table and the folder of its variants, a folder of results for each.

    Raises:
        UserError: a folder or a file is missing or malformed; a variant differs from the table in
            its test images, or in another parameter than its own; or the table lacks a row.
    """
    base = load_results(table)
    found = {
        path.name: load_results(path) for path in sorted(variants.glob("*=*")) if evaluated(path)
    }
    if not found:
        raise UserError(f"{variants}: holds no results of variants (folders section.name=value)")
    for name, results in found.items():
        for cell in results.cells:
            _check_alone(variants / name, cell, base)
    cells = [cell for results in found.values() for cell in results.cells]
    networks = {cell.metrics.network for cell in cells}
    if len(networks) > 1:
        raise UserError(f"{variants}: holds {', '.join(sorted(networks))}; a study has one network")
    network = cells[0].metrics.network
    seeds = tuple(sorted({cell.metrics.seed for cell in cells}))
    keys = {parse_setting(name).key for name in found}
    levels = {
        question: tuple(_levels(question, base, found, network, seeds))
        for question in QUESTIONS
        if question.key in keys
    }
    return Study(base, found, network, seeds, levels)


def _check_alone(folder: Path, cell: Cell, base: Results) -> None:
    """Refuse a variant in which more than its parameter differs from the table."""
    setting = parse_setting(folder.name)
    reference = base.cells[0].details
    expected = {section: dict(values) for section, values in reference.params.items()}
    expected.setdefault(setting.section, {})[setting.name] = setting.value
    path = f"{folder}/details/{cell.name}.json"
    for section, values in (expected | cell.details.params).items():
        for name in values:
            wanted = expected.get(section, {}).get(name)
            value = cell.details.params.get(section, {}).get(name)
            if value != wanted:
                raise UserError(
                    f"{path}: {section}.{name} is {value!r}, where {base.dataset} with "
                    f"{folder.name} has {wanted!r}"
                )
    if cell.details.manifest.test_checksums != reference.manifest.test_checksums:
        raise UserError(f"{path}: was evaluated on other test images than {base.dataset}")


def _levels(
    question: Question,
    base: Results,
    variants: Mapping[str, Results],
    network: str,
    seeds: Sequence[int],
) -> Iterator[Level]:
    def cells(results: Results, rows: Mapping[str, str]) -> dict[str, list[Cell]]:
        chosen = {
            row: [cell for cell in results.seeds(network, name) if cell.metrics.seed in seeds]
            for row, name in rows.items()
        }
        for row, found in chosen.items():
            if not found:
                raise UserError(
                    f"{results.dataset}: {question.parameter} needs the row {rows[row]} of "
                    f"{network} at one of the seeds {', '.join(map(str, seeds))}"
                )
        return chosen

    of_value = {
        setting.value: variants[name]
        for name in variants
        if (setting := parse_setting(name)).key == question.key
    }
    section, _, name = question.key.partition(".")
    default = base.cells[0].details.params[section][name]
    of_value[default] = base
    ordered = sorted(of_value) if question.scale != "names" else dict.fromkeys([default, *of_value])
    for value in ordered:
        label = value if isinstance(value, str) else f"{value:g}"
        rows = {row: row for row in question.rows}
        yield Level(label, value, value == default, cells(of_value[value], rows))
    for without in question.without:
        yield Level(without.label, None, False, cells(base, without.rows))
