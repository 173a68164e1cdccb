"""Fine-tune the teacher with the kurtosis loss, which makes its weights bimodal.

reads   the prepared data, TEACHER (its best epoch) and the sections finetune, kurtosis,
        cross_entropy, augmentation, network, compute of the params
writes  OUT/model.json, best.safetensors, last.safetensors
        RESULTS/curves, kurtosis, timing/<name of OUT>.csv, one row per epoch (and layer)
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.params import load_params
from pipeline.training.phases import TrainingPlaces, train
from pipeline.training.plan import Plan
from stages.arguments import training_parser


def main() -> None:
    """Entry point."""
    parser = training_parser(__doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the teacher")
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    plan = Plan.finetune(
        params, network=arguments.network, seed=arguments.seed, teacher=arguments.teacher
    )
    train(params, TrainingPlaces(arguments.data, arguments.out, arguments.results), plan)


if __name__ == "__main__":
    run(main)
