"""The headline table in plain text: `python -m tools.headline results/digits`."""

import argparse
from pathlib import Path

from pipeline.errors import run
from pipeline.reporting.caveats import debugged
from pipeline.reporting.results import Results, load_results
from pipeline.reporting.rows import network_label
from pipeline.reporting.statistics import spread, summarize


def headline(results: Results) -> str:
    """Test top-1 of every row of every network, mean and standard deviation over the seeds."""
    lines = []
    for network in results.networks:
        lines.append(f"{results.dataset}, {network_label(network)}: test top-1, %")
        for row, cells in results.rows(network):
            top1 = spread(summarize([100 * cell.metrics.top1 for cell in cells]))
            seeds = f"   {len(cells)} seed{'s' if len(cells) > 1 else ''}" if cells else ""
            lines.append(f"  {row.label:<28}{top1:<14}{seeds}".rstrip())
    names = debugged(results)
    if names:
        lines.append(f"DEBUG RUN, NO RESULT: {', '.join(names)}")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results of a data set")
    print(headline(load_results(parser.parse_args().results)))


if __name__ == "__main__":
    run(main)
