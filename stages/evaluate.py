"""Evaluate a trained network on the test images; no other stage looks at them.

reads   the prepared data, MODEL (best and last epoch), REFERENCE (its best epoch) and the sections
        evaluation and compute of the params
writes  RESULTS/<cell>.json: top-1 with its interval, top-5, loss, means over layers, cost
        RESULTS/details/<cell>.json: confusion matrix, statistics and histogram of each layer,
        what was run
        RESULTS/feature_maps/<cell>.safetensors: one test image and what a layer sees of it
        RESULTS/outcomes/<cell>.safetensors: which test images are classified correctly
        RESULTS/provenance/<cell>.json, unless it describes the same bytes already
        where <cell> is <network>-<row>-<seed> of MODEL
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.evaluation.cell import EvaluationPlaces, evaluate_cell
from pipeline.params import load_params
from stages.arguments import stage_parser


def main() -> None:
    """Entry point."""
    parser = stage_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="prepared data")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained network")
    parser.add_argument(
        "--reference",
        type=Path,
        required=True,
        help="folder of the trained network whose weight distribution MODEL is compared with",
    )
    parser.add_argument("--results", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    places = EvaluationPlaces(
        arguments.data, arguments.model, arguments.reference, arguments.results
    )
    metrics = evaluate_cell(load_params(arguments.params), places)
    print(
        f"{arguments.model.name}: test top-1 {metrics['top1']:.4f} "
        f"({metrics['top1_low']:.4f} to {metrics['top1_high']:.4f}), loss {metrics['loss']:.4f}, "
        f"last epoch {metrics['last_epoch_top1']:.4f}"
    )


if __name__ == "__main__":
    run(main)
