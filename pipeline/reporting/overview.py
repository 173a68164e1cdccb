"""All tables at once: the outcome of each claim, and the top-1 of every row."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.reporting.caveats import about_data, debugged
from pipeline.reporting.claims import verdicts
from pipeline.reporting.context import data_name
from pipeline.reporting.estimates import top1
from pipeline.reporting.listing import evaluated, listed
from pipeline.reporting.loading import load_results
from pipeline.reporting.parameters import agreed, epochs
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import COMPLETE, REAL, ROWS, TUNED, network_label
from pipeline.reporting.sources import FileNote, PublishedFigure
from pipeline.reporting.statistics import NONE, counted
from pipeline.reporting.tables import Table
from pipeline.reporting.verdicts import CLAIMS, Verdict

OUTCOMES_CAPTION = (
    "Each claim was judged on each table and network by a rule. The rules were set before these "
    "runs and after earlier runs of another design; only the number of seeds that the first claim "
    "needs was set after them. A verdict is about that table alone, that is its data, its network "
    "and its schedule."
)
CLAIMS_CAPTION = "The evidence behind each verdict."
TRAININGS = ((REAL, "full precision"), (TUNED, "fine-tuning"), (COMPLETE, "student"))
"""Rows whose epochs the table gives, and the names of their trainings."""


def load_tables(folder: Path) -> list[Results]:
    """The results of every table in `folder` whose cells are all evaluated, sorted by name.

    Raises:
        UserError: there is no such table, or a file of one is missing or malformed.
    """
    folders = [table for table, done, cells in _tables(folder) if done == cells]
    if not folders:
        partial = " ".join(left_out(folder)) or "no <table>/<network>-<row>-<seed>.json"
        raise UserError(f"{folder}: holds no results ({partial})")
    return [load_results(each) for each in folders]


def left_out(folder: Path) -> Iterator[str]:
    """A remark on each table in `folder` that `load_tables` leaves out."""
    for table, done, cells in _tables(folder):
        if done < cells:
            yield f"{table.name} is not shown: {done} of its {cells} runs are evaluated."


def _tables(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """Each table with an evaluated cell, its evaluated cells and the cells that it should have."""
    for table in sorted({path.parent for path in folder.glob("*/*.json")}):
        done = len(evaluated(table))
        if done:
            yield table, done, max(done, len(listed(table)))


def described(tables: Sequence[Results], notes: Sequence[FileNote]) -> Iterator[str]:
    """For each table its images, and the schedule and the seeds of its complete students."""
    for results in tables:
        cells = [cell for cell in results.cells if cell.metrics.row == COMPLETE]
        parts = [data_name(results, notes)]
        if cells:
            seeds = len({cell.metrics.seed for cell in cells})
            parts += [epochs(cells), counted(seeds, "seed")]
        yield f"{results.dataset}: {', '.join(parts)}."


def outcomes(tables: Sequence[Results], published: Sequence[PublishedFigure]) -> Table:
    """The outcome of each claim: a line for each claim, a column for each table and network.

    Args:
        tables: What `load_tables` returns.
        published: Figures of other methods.
    """
    found = _verdicts(tables, published)
    places = dict.fromkeys(each.measured_on for each in found)
    outcome = {(each.claim, each.measured_on): each.outcome for each in found}
    lines = [[claim, *(outcome[claim, place] for place in places)] for claim in CLAIMS]
    data = pd.DataFrame(lines, columns=["claim", *places])
    keys, texts = ([getattr(claim, name) for claim in CLAIMS] for name in ("key", "text"))
    shown = data.assign(claim=texts).rename(columns={"claim": "Claim of the paper"})
    return Table(data.assign(claim=keys), shown)


def claims(tables: Sequence[Results], published: Sequence[PublishedFigure]) -> Table:
    """The verdicts on every table and network with their evidence, claim by claim.

    Args:
        tables: What `load_tables` returns.
        published: Figures of other methods.
    """
    found = _verdicts(tables, published)
    data = pd.DataFrame(
        [
            (each.claim.key, each.measured_on, each.result, each.outcome, each.reason)
            for each in found
        ],
        columns=["claim", "measured_on", "result", "outcome", "reason"],
    )
    texts = [each.claim.text for each in found]
    headings = ["Claim of the paper", "Measured on", "Result", "Outcome", "Why"]
    return Table(data, data.assign(claim=texts).set_axis(headings, axis=1))


def every_top1(tables: Sequence[Results]) -> Table:
    """Mean test top-1 of every row with its interval and number of seeds, and the epochs.

    `data` has a line for each table, network and row that was run: top-1 in percent, the ends of
    its interval (as `estimates.top1`), seeds, and epochs of the row's own training, both steps
    together. `shown` has a column for each table and network.
    """
    lines, shown = [], {"Row": [*(row.label for row in ROWS), f"Epochs: {_trainings()}"]}
    for results in tables:
        for network in results.networks:
            column = []
            for row, cells in results.rows(network):
                found = top1(results, network, row.name)
                if found is None:
                    column.append(NONE)
                    continue
                mean, low, high = (100 * each for each in (found.mean, found.low, found.high))
                seeds = counted(found.seeds, "seed")
                column.append(f"{mean:.2f} ({low:.2f} to {high:.2f}; {seeds})")
                about = (results.dataset, network, row.name)
                lines.append((*about, mean, low, high, found.seeds, _epochs(cells)))
            counts = (_epochs(results.nearest(network, row)) for row, _ in TRAININGS)
            name = f"{results.dataset}, {network_label(network)}"
            shown[name] = [*column, "; ".join(counts)]
    keys = ["table", "network", "row", "top1", "top1_low", "top1_high", "seeds", "epochs"]
    return Table(pd.DataFrame(lines, columns=keys), pd.DataFrame(shown))


def top1_caption(tables: Sequence[Results]) -> str:
    """A caption that explains the figures of `every_top1`."""
    level = agreed(100 * results.evaluation["confidence"] for results in tables)
    return (
        f"Test top-1 in %, mean and {level} % interval. The interval is a bootstrap over seeds and "
        "test images; that of one seed is Wilson's, over the test images alone. The epoch was "
        "chosen on validation images. Epochs of fine-tuning come on top of those before. A dash "
        "stands for a row that was not run."
    )


def remarks(tables: Sequence[Results], notes: Sequence[FileNote]) -> Iterator[str]:
    """Remarks that must stand beside each table's figures, on debug runs, mixed runs and data."""
    for results in tables:
        names = debugged(results)
        if names:
            yield f"{results.dataset}: DEBUG RUN, NO RESULT: {', '.join(names)}."
        yield from (f"{results.dataset}: {each}" for each in about_data(results, notes))


def _verdicts(tables: Sequence[Results], published: Sequence[PublishedFigure]) -> list[Verdict]:
    """All verdicts, claim by claim, each claim on every table and network."""
    found = [
        verdict
        for results in tables
        for of_network in verdicts(results, results.dataset, published).values()
        for verdict in of_network
    ]
    return sorted(found, key=lambda verdict: CLAIMS.index(verdict.claim))


def _trainings() -> str:
    return "; ".join(name for _, name in TRAININGS)


def _epochs(cells: Sequence[Cell]) -> str:
    """Epochs of the cells' own training, without those of the training they are fine-tuned from."""
    counts = sorted({len(cell.all_curves) for cell in cells if not cell.details.pretrained})
    if not counts:
        return "pretrained" if cells else NONE
    return " or ".join(map(str, counts))
