"""The choice of a parameter's value, which is judged on validation images and on no test image."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reporting.effects import ROLES, Interval, seed_interval
from pipeline.reporting.results import Cell
from pipeline.reporting.statistics import CONFIDENCE, counted
from pipeline.reporting.variants import Level, Question, Study
from pipeline.reporting.verdicts import SEEDS_NEEDED


@dataclass(frozen=True)
class Candidate:
    """One row at one level of a question, on validation."""

    level: Level
    row: str
    top1: Interval
    """A share, at the epoch that each training chose on the same images."""
    difference: Interval | None
    """Difference from the default, as a share, paired by seed; None for the default itself, and if
    there are no pairs."""
    pairs: int
    """Number of seeds that the default has too."""


def candidates(study: Study, question: Question) -> list[Candidate]:
    """Validation top-1 of each row at each level, row by row, with Student's intervals."""
    levels = study.levels[question]
    default = next(level for level in levels if level.default)
    found = []
    for row in question.rows:
        against = _by_seed(default.cells[row])
        for level in levels:
            own = _by_seed(level.cells[row])
            paired = [own[seed] - against[seed] for seed in own if seed in against]
            difference = seed_interval(paired, -1, 1) if paired and not level.default else None
            top1 = seed_interval(list(own.values()), 0, 1)
            found.append(Candidate(level, row, top1, difference, len(paired)))
    return found


def choices(study: Study) -> list[str]:
    """A sentence for each row of a question that validation decides.

    The default is supported if the differences of all other values from it have intervals below 0,
    and not supported if one of these intervals lies above 0.
    """
    found = []
    for question in study.levels:
        if question.by_validation:
            every = candidates(study, question)
            found += [
                _choice(question, [each for each in every if each.row == row])
                for row in question.rows
            ]
    return found


def _choice(question: Question, of_row: Sequence[Candidate]) -> str:
    row = of_row[0].row
    default = next(each.level.label for each in of_row if each.level.default)
    others = [each for each in of_row if not each.level.default]
    better = [each.level.label for each in others if _side(each) > 0]
    evidence = "; ".join(f"{each.level.label} minus {default} is {_told(each)}" for each in others)
    where = f"on validation where {question.parameter} is"
    if better:
        return (
            f"The {ROLES[row]} is better {where} {' or '.join(better)} than where it is {default}, "
            f"so that the default is not supported: {evidence}."
        )
    if all(_side(each) < 0 for each in others):
        return (
            f"The {ROLES[row]} is best {where} {default}, so that the default is supported: "
            f"{evidence}."
        )
    return (
        f"Whether the {ROLES[row]} is best {where} {default}, which is the default, is undecided: "
        f"{evidence}."
    )


def _side(candidate: Candidate) -> int:
    """1 if the interval of the difference lies above 0, -1 if below, else 0."""
    difference = candidate.difference
    if difference is None or candidate.pairs < SEEDS_NEEDED or difference.low == difference.high:
        return 0
    return int(difference.low > 0) - int(difference.high < 0)


def _told(candidate: Candidate) -> str:
    if candidate.difference is None:
        return "unknown, as no seed has both"
    mean, low, high = (f"{100 * each:+z.2f}" for each in candidate.difference)
    seeds = counted(candidate.pairs, "seed")
    if low == high:
        return f"{mean} points ({seeds}, no interval)"
    return f"{mean} points ({100 * CONFIDENCE:.0f} % interval {low} to {high}, {seeds})"


def _by_seed(cells: Sequence[Cell]) -> dict[int, float]:
    return {cell.metrics.seed: cell.metrics.validation_top1 for cell in cells}
