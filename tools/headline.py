"""The headline table in plain text: `python -m tools.headline results/digits`."""

import argparse
from pathlib import Path

from pipeline.errors import run
from pipeline.reporting.caveats import debugged, mixed
from pipeline.reporting.claims import verdicts
from pipeline.reporting.comparisons import Estimate
from pipeline.reporting.estimates import top1
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Results
from pipeline.reporting.rows import network_label
from pipeline.reporting.sources import PublishedFigure, read_lines
from pipeline.reporting.training_cost import hardware, hours, row_cost

PUBLISHED = Path(__file__).parents[1] / "reports" / "published.csv"


def headline(results: Results) -> str:
    """Test top-1 of every row of every network with its interval, and the verdicts in brief."""
    judged = verdicts(results, results.dataset, read_lines(PUBLISHED, PublishedFigure))
    confidence = f"{100 * results.evaluation['confidence']:g} % interval"
    lines = []
    for network in results.networks:
        name = f"{results.dataset}, {network_label(network)}"
        lines.append(f"{name}: test top-1 in %, mean and {confidence}")
        for row, _ in results.rows(network):
            found = top1(results, network, row.name)
            lines.append(f"  {row.label:<38}{_shown(found) if found else 'not run'}")
        lines += [
            f"  {each.claim.key:<18}{each.outcome}: {each.reason}"
            for each in judged.get(network, [])
        ]
    lines += mixed(results)
    names = debugged(results)
    if names:
        lines.append(f"DEBUG RUN, NO RESULT: {', '.join(names)}")
    return "\n".join(lines)


def training_cost(results: Results) -> str:
    """Time, throughput, memory and hardware of the trainings, which vary from run to run."""
    lines = [f"Training: {hours(results):.2f} hours in all, on {hardware(results)}"]
    for network in results.networks:
        for row, cells in results.run_rows(network):
            cost = row_cost(cells)
            if cost:
                lines.append(
                    f"  {network_label(network)}, {row.label}: {cost.seconds:,.0f} s a seed, "
                    f"{cost.images_per_second:,.0f} images/s, {cost.peak_memory_mib:,.0f} MiB"
                )
    return "\n".join(lines)


def _shown(found: Estimate) -> str:
    seeds = f"{found.seeds} seeds" if found.seeds > 1 else "1 seed, interval over images alone"
    ends = f"{100 * found.low:.2f} to {100 * found.high:.2f}"
    return f"{100 * found.mean:>6.2f}   {ends:<17}  {seeds}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results of a data set")
    results = load_results(parser.parse_args().results)
    print(headline(results))
    print(training_cost(results))


if __name__ == "__main__":
    run(main)
