"""Cost of the trainings and the hardware they ran on, from their provenance.

Cost varies from run to run, and the bytes of a report must repeat. So the cost stands on a page of
its own, which the report links to and DVC does not track.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from pipeline.artifacts import write_csv, write_text
from pipeline.reporting.markup import Link, page, part, to_html
from pipeline.reporting.parameters import agreed
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import ROWS, network_label
from pipeline.reporting.statistics import NONE
from pipeline.reporting.tables import Table

CAPTION = (
    "What each training took: its seconds and training images per second, means over the seeds, "
    "as recorded by the run that first made the committed bits. The machine did other work at the "
    "same time, so these figures do not rank rows."
)
HARDWARE = ("device", "cpu", "threads")
PAGE, DATA = "training-cost.html", "training-cost.csv"
"""Files beside the report of a table."""


@dataclass(frozen=True)
class Cost:
    """Cost of the trainings of one row, both steps together."""

    seconds: float
    """Mean over the seeds whose time was recorded."""
    images_per_second: float
    peak_memory_mib: float
    """The greatest of any seed and step."""


def row_cost(cells: Sequence[Cell]) -> Cost | None:
    """Cost of the trainings of a row; None if none was recorded."""
    timed = [cell.training for cell in cells if all("seconds" in step for step in cell.training)]
    steps = [step for training in timed for step in training]
    if not steps:
        return None
    return Cost(
        seconds=sum(step["seconds"] for step in steps) / len(timed),
        images_per_second=fmean(step["images_per_second"] for step in steps),
        peak_memory_mib=max(step["peak_memory_mib"] for step in steps),
    )


def hours(results: Results) -> float:
    """Hours that all trainings of a table took."""
    seconds = (step.get("seconds", 0) for cell in results.cells for step in cell.training)
    return sum(seconds) / 3600


def hardware(results: Results) -> str:
    """Hardware that the trainings of a table ran on, in words."""
    steps = [step for cell in results.cells for step in cell.training]
    return "; ".join(f"{key} {agreed(step.get(key) for step in steps)}" for key in HARDWARE)


def cost_table(tables: Sequence[Results]) -> Table:
    """The cost of every row that was run, and the hours and the hardware of each table.

    `data` has a line for each table, network and row; `shown` a column for each table and network.
    """
    lines = []
    shown = {"Row": [*(row.label for row in ROWS), "The whole table", "Hardware"]}
    for results in tables:
        for network in results.networks:
            column = []
            for row, cells in results.rows(network):
                cost = row_cost(cells)
                if cost is None:
                    column.append(NONE)
                    continue
                column.append(f"{cost.seconds:,.0f} s; {cost.images_per_second:,.0f} images/s")
                lines.append({"table": results.dataset, "network": network, "row": row.name})
                lines[-1] |= vars(cost)
            name = f"{results.dataset}, {network_label(network)}"
            shown[name] = [*column, f"{hours(results):.2f} hours", hardware(results)]
    return Table(pd.DataFrame(lines), pd.DataFrame(shown))


def write_cost(results: Results, folder: Path, redraw: str) -> None:
    """Write the cost of a table's trainings as PAGE and DATA.

    Args:
        results: The table.
        folder: Folder of its report.
        redraw: Command that writes them again.
    """
    table = cost_table([results])
    write_csv(folder / DATA, table.data)
    title = f"What the trainings of {results.dataset} took"
    body = part("heading", level=1, text=title, id="title") + to_html(
        table,
        CAPTION,
        prose=False,
        folded="",
        id="table-cost",
        files=[("CSV", DATA)],
        redraw=redraw,
    )
    links = [Link("Report", "report.html")]
    write_text(folder / PAGE, page(title, body, [], links))
