"""Draw the report of one data set.

reads   RESULTS (cells.txt, the list of the table's cells, and of every evaluated cell: metrics,
        details, outcomes, curves, kurtosis, feature maps and provenance), PUBLISHED,
        reports/report.py (the notebook), fidelity.csv and notes.csv beside it,
        benchmarks/results/*/inference.json, and the params, to name results that were made with
        other ones
writes  OUT/report.html, report.ipynb, metrics.json, tables/*.csv and *.md, figures/*.{png,svg}
        OUT/training-cost.html and .csv, which DVC does not track, as they differ from run to run
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.reporting.render import render
from stages.arguments import stage_parser


def main() -> None:
    """Entry point."""
    parser = stage_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results of the data set")
    parser.add_argument("--published", type=Path, required=True, help="published figures, as CSV")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments = parser.parse_args()
    render(arguments.params, arguments.results, arguments.published, arguments.out)
    print(f"report: {arguments.out / 'report.html'}")


if __name__ == "__main__":
    run(main)
