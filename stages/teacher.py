"""Train the full-precision teacher.

reads   the prepared data and the sections teacher, augmentation, network, compute of the params
writes  OUT/model.json, best.safetensors, last.safetensors
        RESULTS/curves, kurtosis, timing/<name of OUT>.csv, one row per epoch (and layer)
"""

from pipeline.errors import run
from pipeline.params import load_params
from pipeline.training.phases import Places, train_teacher
from stages.arguments import training_parser


def main() -> None:
    """Entry point."""
    arguments = training_parser(__doc__).parse_args()
    places = Places(arguments.data, arguments.out, arguments.results)
    train_teacher(load_params(arguments.params), places, arguments.network, arguments.seed)


if __name__ == "__main__":
    run(main)
