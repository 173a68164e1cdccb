"""Names of the networks, losses and rows, in the order in which they are listed and shown.

It holds only names, so that parsing a command line or rendering a report does not import torch.
"""

NETWORKS = {
    "resnet20": "ResNet-20",
    "resnet18": "ResNet-18",
    "vgg_small": "VGG-Small",
    "imagenet_resnet18": "ResNet-18 (7x7 stem)",
    "imagenet_resnet34": "ResNet-34 (7x7 stem)",
    "torchvision_resnet18": "ResNet-18 (torchvision)",
    "torchvision_resnet34": "ResNet-34 (torchvision)",
}
"""Label of each network in reports. A 7x7 stem is made for ImageNet, whatever it is trained on."""

LOSSES = ("cross_entropy", "kurtosis", "distillation", "mimicking")
"""Each also names the section of params.yaml that holds its weight."""

FINETUNED_ROWS = ("fine-tuned", "kurtosis")
BINARY_ROWS = (
    "binary",
    "binary-kurtosis",
    "binary-distillation",
    "binary-mimicking",
    "complete-untuned",
    "complete",
)
STEP_ONE_ROWS = tuple(f"{row}-step-one" for row in BINARY_ROWS)
"""Rows of the first of two steps, which are not evaluated."""
ROWS = ("full-precision", *FINETUNED_ROWS, *BINARY_ROWS, *STEP_ONE_ROWS)
"""Each is part of file names."""

FILE_NAME = r"[\w-]+"
"""Pattern for names of result files: no name that matches leads out of its folder."""
