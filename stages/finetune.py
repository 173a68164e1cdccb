"""Fine-tune the teacher with the kurtosis loss, which makes its weights bimodal.

reads   the prepared data, TEACHER (its best epoch) and the sections finetune, kurtosis,
        cross_entropy, augmentation, network, compute of the params
writes  OUT/model.json, best.safetensors, last.safetensors
        RESULTS/curves, kurtosis, timing/<name of OUT>.csv, one row per epoch (and layer)
"""

from pathlib import Path

from pipeline.errors import run
from pipeline.params import load_params
from pipeline.training.phases import Places, finetune_teacher
from stages.arguments import training_parser


def main() -> None:
    """Entry point."""
    parser = training_parser(__doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the teacher")
    arguments = parser.parse_args()
    places = Places(arguments.data, arguments.out, arguments.results)
    finetune_teacher(
        load_params(arguments.params),
        places,
        arguments.network,
        arguments.seed,
        arguments.teacher,
    )


if __name__ == "__main__":
    run(main)
