"""The one metrics file of a table, for DVC."""

from typing import Any

from pipeline.reporting.estimates import top1
from pipeline.reporting.results import Results


def table_metrics(results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    """Test top-1 of each network and row that was run, in percent, rounded to two digits.

    Each is a mean over the seeds with the ends of its interval, as in `estimates.top1`, and with
    the number of seeds.
    """
    return {
        network: {
            row.name: _numbers(results, network, row.name) for row, _ in results.run_rows(network)
        }
        for network in results.networks
    }


def _numbers(results: Results, network: str, row: str) -> dict[str, Any]:
    found = top1(results, network, row)
    assert found is not None
    return {
        "top1": round(100 * found.mean, 2),
        "top1_low": round(100 * found.low, 2),
        "top1_high": round(100 * found.high, 2),
        "seeds": found.seeds,
    }
