"""Train the full-precision network further, with the kurtosis loss or, as its control, without.

reads   the prepared data, TEACHER (its best epoch) and the sections finetune,
        augmentation, network, compute and those of the LOSSES of the params
writes  OUT/model.json, best.safetensors, last.safetensors
        RESULTS/curves, kurtosis/<name of OUT>.csv, one row per epoch (and layer)
        RESULTS/provenance/<name of OUT>.json, unless it describes the same bytes already
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.names import FINETUNED_ROWS
from pipeline.params import load_params
from pipeline.training.phases import TrainingPlaces, train
from pipeline.training.plan import Plan
from stages.arguments import training_parser


def main() -> None:
    """Entry point."""
    parser = training_parser(__doc__)
    parser.add_argument("--row", required=True, choices=FINETUNED_ROWS, help="name of the row")
    parser.add_argument("--losses", required=True, nargs="+", choices=("cross_entropy", "kurtosis"))
    parser.add_argument(
        "--teacher", type=Path, required=True, help="folder of the network to fine-tune"
    )
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    plan = Plan.finetune(
        params,
        network=arguments.network,
        seed=arguments.seed,
        row=arguments.row,
        losses=arguments.losses,
        teacher=arguments.teacher,
    )
    train(params, TrainingPlaces(arguments.data, arguments.out, arguments.results), plan)


if __name__ == "__main__":
    run(main)
