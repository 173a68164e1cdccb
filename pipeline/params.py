"""params.yaml as typed, validated objects.

One file holds every parameter of one data set's run. An error names the file, the key, the value
found and what is allowed. The file has no lists, because `dvc exp run -S` would rewrite them. Like
DVC, this module reads it as YAML 1.2; in YAML 1.1, which PyYAML reads, `off` is False.
"""

import os
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import Node

from pipeline.errors import UserError
from pipeline.targets import WITHOUT_TEACHER, parse_targets

LARGEST_INT = 2**31 - 1
LARGEST_SEED = 2**32 - 1
"""Seeds of 32 bits serve every generator of random numbers here."""
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST_INT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_INT)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
BatchSize = Annotated[int, Field(gt=0, le=2**20)]
Temperature = Annotated[float, Field(gt=0, le=2**20)]
"""Losses are multiplied by its square."""
Text = Annotated[str, Field(max_length=2**12, pattern=r"^[^\x00]*$")]
"""Whole characters only: YAML can escape half of one, which pydantic refuses to match."""
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
UnitShare = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Resamples = Annotated[int, Field(gt=0, le=10**7)]
Confidence = Annotated[float, Field(ge=0.5, le=0.9999)]
Pixels = Annotated[int, Field(gt=0, le=2**13)]
"""Side of an image; at 2**14 it has more pixels than Pillow opens without a warning."""
Channels = Annotated[int, Field(gt=0, le=2**10)]
LARGEST_CLASSES = 2**16


class Section(BaseModel):
    """A part of params.yaml: unknown keys are refused, and values are finite and not coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(Section):
    """Where the images come from and how they are split."""

    source: Literal["digits", "cifar10", "folders", "shards"]
    location: Text
    """Folder of the archive, class folders or shards, relative to the repository; unused by
    `digits`. Environment variables are expanded."""
    image_size: Pixels
    """Height and width of the prepared images."""
    validation: Share
    """Share of the training images held out, stratified, to choose the best epoch."""
    split_seed: Seed
    limit: NonNegativeInt
    """At most this many images of each of train and test, stratified; 0 takes all."""


class Streaming(Section):
    """Images that stay where they are: prepare indexes them, and training decodes them."""

    resize: Pixels
    """Shorter side in pixels before the central crop of evaluation, at least data.image_size."""
    crop_scale_min: Annotated[float, Field(gt=0, le=1)]
    """Smallest share of an image's area that a random resized crop may show."""
    unreadable: Literal["refuse", "skip"]
    """What prepare does about images that cannot be decoded; either way it names them."""
    statistics: Literal["measured", "imagenet"]
    """Channel mean and std: of the training images, or as pretrained weights expect them."""
    decoder: Literal["pillow", "nvjpeg"] = "pillow"
    """Decoder of JPEGs while a network trains: Pillow in the workers, or nvJPEG on the GPU."""


class Augmentation(Section):
    """Random changes to training images."""

    crop_padding: NonNegativeInt
    """Zero pixels on each side before a random crop back to the image size."""
    horizontal_flip: bool


class Network(Section):
    """Choices that the architectures leave open."""

    block: Literal["bireal", "plain", "react"]
    """A skip around each convolution (`bireal`), around each pair (`plain`, resnet20 alone), or
    around each with ReActNet's learned shifts and slopes (`react`, imagenet_resnet18 and 34 alone).
    Networks that have only one kind of block ignore it."""
    full_precision_block: Literal["bireal", "plain", "react"]
    """The same for full-precision networks, which include the teachers."""
    full_precision_activation: Literal["relu", "hardtanh"]
    """Nonlinearity of the full-precision networks; binary ones use hardtanh."""
    downsample: Literal["real", "binary"]
    """resnet18 alone: the 1x1 convolutions of the skips stay real (IR-Net) or are binary (RBNN)."""


class Binarization(Section):
    """How a binary network quantizes, and which gradient passes through the sign."""

    weights: bool
    activations: bool
    sign_gradient: Literal["ede", "rbnn", "clipped", "polynomial"]
    ede_t_min: PositiveFloat
    ede_t_max: PositiveFloat
    weight_scale: Literal["power_of_two", "mean_absolute"]


class Phase(Section):
    """The schedule of one training."""

    epochs: PositiveInt
    batch_size: BatchSize
    """Images in a step over all processes; slightly fewer where it does not divide their number."""
    optimizer: Literal["sgd", "adam"]
    learning_rate: PositiveFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]
    """SGD uses it; Adam ignores it."""
    weight_decay: NonNegativeFloat
    schedule: Literal["cosine", "linear", "constant"]
    decay: Literal["all", "convolutions"] = "all"
    """Parameters under weight decay: all of them, or only the weights of convolutions."""


class Student(Phase):
    """The schedule of the binary network, and the weights it starts from."""

    initialize: Literal["random", "teacher"]


class Pretrained(Section):
    """Source of the weights of those networks `torchvision_*` that are read instead of trained."""

    weights: Text
    """`download` (torchvision's own, trained on ImageNet), or a .pth or .safetensors file.
    Environment variables are expanded."""


class Kurtosis(Section):
    """The kurtosis loss."""

    weight: NonNegativeFloat
    target: float | str
    """One target for all layers, or one for each, such as "1.4 x14, 1.8 x4, 2.2"; or a list of the
    released code, for ResNet-18 and 34: `released cifar10` or `released imagenet`."""
    aggregate: Literal["mean", "sum", "max"]
    start_epoch: NonNegativeInt

    @field_validator("target")
    @classmethod
    def _readable(cls, target: float | str) -> float | str:
        if target not in WITHOUT_TEACHER:
            parse_targets(target)
        return target


class Mimicking(Section):
    """Weight distribution mimicking (WDM)."""

    weight: NonNegativeFloat
    form: Literal["quantile", "softmax", "released"]
    temperature: Temperature
    """Only the form `softmax` uses it."""
    sort_every: PositiveInt
    """Steps for which the form `quantile` keeps the ranks of the student's weights. It also renews
    them at the start of each epoch."""


class Distillation(Section):
    """Distillation of the teacher's logits."""

    weight: NonNegativeFloat
    temperature: Temperature


class CrossEntropy(Section):
    """Cross-entropy with the labels, beside the other losses."""

    weight: NonNegativeFloat


class Compute(Section):
    """Settings that change the bits of a result. Launcher, workers and progress bar do not."""

    precision: Literal["auto", "float32", "bfloat16"]
    """`auto`: bfloat16 autocast on devices that have the instructions, else float32."""
    compile: Literal["auto", "on", "off"]
    """torch.compile; `auto`: on CUDA, and for binary networks on a CPU with a C++ compiler."""
    channels_last: Literal["auto", "on", "off"]
    """Memory format; `auto`: on CUDA only."""
    fused_optimizer: bool = True
    """One kernel per optimizer step, on CPU and CUDA, instead of one for each of its operations."""
    deterministic: bool
    """Deterministic algorithms; on CUDA they cost time, on CPU nothing."""
    threads: Annotated[int, Field(ge=0, le=1024)]
    """CPU threads of one process; 0 leaves torch's default."""
    portable: bool = False
    """Compute the same bits on every x86-64 CPU with AVX2, which is slower on one with AVX512."""


class Evaluation(Section):
    """How a trained network is judged."""

    bootstrap_resamples: Resamples
    """Bootstrap draws for each interval of a report, which takes at least 20,000."""
    confidence: Confidence
    feature_map_image: NonNegativeInt
    """Index of the test image whose feature maps are drawn."""


class Debug(Section):
    """Shortcuts for debugging; whatever they touch is marked as not a result."""

    batches: NonNegativeInt
    """Batches of each epoch; 0 takes all."""
    overfit_one_batch: bool


class Params(Section):
    """The whole of params.yaml."""

    data: Data
    streaming: Streaming | None = None
    """None: prepare decodes all images into memory, once."""
    augmentation: Augmentation
    network: Network
    binarization: Binarization
    teacher: Phase
    finetune: Phase
    student: Student
    step_one: Student | None = None
    """The first of two steps: activations binary, weights real."""
    step_two: Phase | None = None
    """The second of two steps: both are binary, starting from the last weights of step one."""
    pretrained: Pretrained | None = None
    cross_entropy: CrossEntropy
    kurtosis: Kurtosis
    distillation: Distillation
    mimicking: Mimicking
    compute: Compute
    evaluation: Evaluation
    debug: Debug

    @model_validator(mode="after")
    def _crops_show_something(self) -> Self:
        padding, side = self.augmentation.crop_padding, self.data.image_size
        if padding >= side:
            raise ValueError(
                f"augmentation.crop_padding is {padding}: must be less than data.image_size, "
                f"{side}, or a crop may show nothing but padding"
            )
        return self

    @model_validator(mode="after")
    def _ede_sharpens(self) -> Self:
        first, last = self.binarization.ede_t_min, self.binarization.ede_t_max
        if first > last:
            raise ValueError(
                f"binarization.ede_t_min is {first:g}: must be at most binarization.ede_t_max, "
                f"{last:g}"
            )
        return self

    @model_validator(mode="after")
    def _computes_portably(self) -> Self:
        compute = self.compute
        wanted = {"precision": "float32", "compile": "off"}
        for key, value in wanted.items():
            if compute.portable and getattr(compute, key) != value:
                raise ValueError(
                    f"compute.{key} is {getattr(compute, key)!r}: with compute.portable it must be "
                    f"{value!r}"
                )
        if compute.portable and not compute.threads:
            raise ValueError("compute.threads is 0: with compute.portable it must be at least 1")
        return self

    @model_validator(mode="after")
    def _streams(self) -> Self:
        if self.streaming is None:
            return self
        if self.data.source not in ("folders", "shards"):
            raise ValueError(
                f"data.source is {self.data.source!r}: with the section streaming it must be "
                "folders or shards"
            )
        if self.streaming.resize < self.data.image_size:
            raise ValueError(
                f"streaming.resize is {self.streaming.resize}: must be at least data.image_size, "
                f"{self.data.image_size}"
            )
        if self.augmentation.crop_padding:
            raise ValueError(
                f"augmentation.crop_padding is {self.augmentation.crop_padding}: must be 0 with "
                "the section streaming, whose crops are random resized ones"
            )
        return self

    def recorded(self) -> dict[str, Any]:
        """JSON values to keep beside a result, without optional parameters at their defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


def resolve(location: str, key: str = "data.location") -> Path:
    """Expand environment variables ($NAME and ${NAME}) in `location`, the value of `key`.

    Raises:
        UserError: one of them is not set.
    """
    for plain, braced in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", location):
        if (plain or braced) not in os.environ:
            raise UserError(
                f"{key} is {location!r}: the environment variable {plain or braced} is not set"
            )
    return Path(os.path.expandvars(location))


def load_params(path: Path) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: the file is missing or not a YAML mapping, or a key is unknown, is missing or has
            a value that is not allowed; the message lists all such keys on one line.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _ComposerWithoutAliases
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"{path}: is no file")
        content = yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error})") from error
    except RecursionError as error:
        raise UserError(f"{path}: is nested too deeply") from error
    except MALFORMED as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping of sections, found {shown(content)}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {'; '.join(_problem(item) for item in error.errors())}") from None


MALFORMED = (
    YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
"""The first is ruamel's own; its constructors of dates, numbers and sets raise the others."""


class _ComposerWithoutAliases(Composer):
    """Refuses aliases: `dvc exp run -S` would change an aliased mapping in every place at once."""

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        if self.parser.check_event(AliasEvent):
            event = self.parser.peek_event()
            raise ComposerError(
                None, None, f"the alias *{event.anchor}: write the value out", event.start_mark
            )
        return super().compose_node(parent, index)


def shown(value: Any) -> str:
    """The repr of a value, or the beginning and end of a long one."""
    limited = reprlib.Repr()
    limited.maxstring = limited.maxother = 200
    try:
        return limited.repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        return "a number of thousands of digits"


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"] if part not in ("float", "str"))
    if not key:
        return item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "extra_forbidden":
        return f"{key} is unknown"
    return f"{key} is {shown(item['input'])}: {item['msg'].removeprefix('Value error, ')}"
