"""Train the full-precision teacher, or read it.

reads   the prepared data and the sections teacher, augmentation, network, compute of the params; if
        these have a section pretrained, a network torchvision_* is not trained: its weights are
        read, and judged on validation
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
