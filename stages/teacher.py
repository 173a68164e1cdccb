"""Train the full-precision teacher, or read pretrained weights for it.

reads   the prepared data and the sections teacher, cross_entropy, augmentation, network, compute of
        the params; with --pretrained the weights that the section pretrained names, which are
        judged on validation
writes  OUT/model.json, best.safetensors, last.safetensors
        RESULTS/curves, kurtosis/<name of OUT>.csv, one row per epoch (and layer)
        RESULTS/provenance/<name of OUT>.json, unless it describes the same bytes already
"""

from pipeline.errors import run
from pipeline.params import load_params
from pipeline.training.phases import TrainingPlaces, train
from pipeline.training.plan import Plan
from stages.arguments import training_parser


def main() -> None:
    """Entry point."""
    parser = training_parser(__doc__)
    parser.add_argument(
        "--pretrained", action="store_true", help="read the weights of a torchvision_* network"
    )
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    plan = Plan.teacher(
        params,
        network=arguments.network,
        seed=arguments.seed,
        pretrained=arguments.pretrained,
    )
    train(params, TrainingPlaces(arguments.data, arguments.out, arguments.results), plan)


if __name__ == "__main__":
    run(main)
