"""Weight statistics of each layer, by row and seed."""

import pandas as pd

from pipeline.reporting.results import Results

IDENTITY = ["row", "layer", "elements", "binary"]
STATISTICS = [
    "kurtosis",
    "target",
    "near_zero_share",
    "binarization_error",
    "teacher_distance_relative",
    "valley_depth",
    "dip_p_value",
    "two_modes",
]


def layers_by_seed(results: Results, network: str) -> pd.DataFrame:
    """IDENTITY, seed and STATISTICS of every regularized layer, in the order of rows and modules.

    A statistic that a layer lacks, such as a target where there is no kurtosis loss, is NaN.
    `two_modes` is 1 or 0.
    """
    lines = [
        {"row": row.name, "layer": layer.name, "seed": cell.metrics.seed, **layer.model_dump()}
        for row, cells in results.run_rows(network)
        for cell in cells
        for layer in cell.details.layers
    ]
    return pd.DataFrame(lines)[[*IDENTITY, "seed", *STATISTICS]].astype(
        dict.fromkeys(STATISTICS, float)
    )


def layer_means(results: Results, network: str) -> pd.DataFrame:
    """IDENTITY and the means of STATISTICS over the seeds: `two_modes` is a share of seeds."""
    by_seed = layers_by_seed(results, network)
    return by_seed.groupby(IDENTITY, sort=False)[STATISTICS].mean().reset_index()
