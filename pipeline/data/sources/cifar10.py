"""CIFAR-10's official archive through torchvision (Krizhevsky 2009, 50,000 + 10,000 images)."""

from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.artifacts import check_regular
from pipeline.data.sources.base import PixelSamples, Source
from pipeline.errors import UserError

DEFAULT_FOLDER = Path("data/downloads")


def load(location: Path) -> Source:
    """Load CIFAR-10 from the folder `location`, in the official order.

    The folder holds the archive, or what torchvision unpacked from it, or nothing yet, in which
    case the archive is downloaded. MD5 sums are always verified before anything is read.

    Raises:
        UserError: the archive is corrupt, or neither there nor to be had over the network.
        OSError: the archive cannot be read.
    """
    # Imported here: torchvision takes seconds to import, and the other sources do not need it.
    from torchvision.datasets import CIFAR10  # noqa: PLC0415
    from torchvision.datasets.utils import calculate_md5, check_integrity  # noqa: PLC0415

    folder = DEFAULT_FOLDER if location == Path() else location
    archive = folder / CIFAR10.filename
    wanted = f"{CIFAR10.filename} with MD5 {CIFAR10.tgz_md5} from {CIFAR10.url}"
    if archive.exists():
        check_regular(archive)
        if not check_integrity(archive, CIFAR10.tgz_md5):
            raise UserError(f"{archive}: MD5 is {calculate_md5(archive)}; replace it by {wanted}")
    try:
        train = CIFAR10(folder, train=True, download=True)
        test = CIFAR10(folder, train=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{folder}: CIFAR-10 is not there and could not be downloaded or unpacked ({error}); "
            f"put {wanted} into this folder (data.location)"
        ) from error
    return Source(
        classes=tuple(train.classes),
        train=PixelSamples(train.data, np.array(train.targets)),
        test=PixelSamples(test.data, np.array(test.targets)),
        describe=lambda: {
            "package": "torchvision",
            "version": version("torchvision"),
            "archive": CIFAR10.filename,
            "md5": CIFAR10.tgz_md5,
        },
    )
