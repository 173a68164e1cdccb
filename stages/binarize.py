"""Train a binary student with the losses of one row of the table, in one step or in two.

reads   the prepared data, TEACHER and DISTILLER (their best epoch), STEP_ONE (its last epoch) and
        the sections student (of two steps: step_one, step_two), binarization, augmentation,
        network, compute and those of the LOSSES of the params
writes  OUT/model.json, best.safetensors, last.safetensors
        RESULTS/curves, kurtosis/<name of OUT>.csv, one row per epoch (and layer)
        RESULTS/provenance/<name of OUT>.json, unless it describes the same bytes already
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.names import BINARY_ROWS, LOSSES, STEP_ONE_ROWS
from pipeline.params import load_params
from pipeline.training.phases import TrainingPlaces, train
from pipeline.training.plan import Plan
from stages.arguments import training_parser


def main() -> None:
    """Entry point."""
    parser = training_parser(__doc__)
    parser.add_argument(
        "--row", required=True, choices=BINARY_ROWS + STEP_ONE_ROWS, help="name of the row"
    )
    parser.add_argument("--losses", required=True, nargs="+", choices=LOSSES)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the teacher")
    parser.add_argument(
        "--distiller",
        type=Path,
        help="folder of the network whose logits are distilled; that of the teacher by default",
    )
    parser.add_argument(
        "--step",
        choices=("single", "one", "two"),
        default="single",
        help="one: activations binary, weights real; two: both, from STEP_ONE",
    )
    parser.add_argument("--step-one", type=Path, help="folder that step one wrote, for step two")
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    plan = Plan.binarize(
        params,
        network=arguments.network,
        seed=arguments.seed,
        row=arguments.row,
        losses=arguments.losses,
        teacher=arguments.teacher,
        distiller=arguments.distiller,
        step=arguments.step,
        step_one=arguments.step_one,
    )
    train(params, TrainingPlaces(arguments.data, arguments.out, arguments.results), plan)


if __name__ == "__main__":
    run(main)
