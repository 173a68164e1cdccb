"""What opening prepared data takes: of arrays, neither torchvision nor the other splits."""

import subprocess
import sys

import pytest

from pipeline.data.loading.dataset import open_prepared
from pipeline.errors import UserError
from tests.conftest import ROOT
from tests.data.conftest import here

OPENING = """
import sys
from pathlib import Path
import stages.binarize, stages.finetune, stages.teacher
from pipeline.data.loading.dataset import open_prepared
print(len(open_prepared(Path(sys.argv[1])).manifest.classes))
print({"torchvision", "joblib", "pipeline.data.sources"} & sys.modules.keys())
"""


def test_a_training_of_images_in_memory_imports_no_torchvision(tiny_digits):
    command = [sys.executable, "-c", OPENING, str(tiny_digits)]
    assert subprocess.check_output(command, cwd=ROOT, text=True).splitlines() == ["10", "set()"]


@pytest.fixture
def without_test(tiny_digits, tmp_path):
    """Prepared arrays, of which the test images went missing."""
    for path in tiny_digits.iterdir():
        if path.name != "test_images.npy":
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_a_split_is_read_when_it_is_asked_for(without_test):
    images = open_prepared(without_test)
    options = {"batch_size": 8, "augmentation": None, "seed": 0} | here()
    assert len(images.batches("train", **options)) > 0
    with pytest.raises(UserError, match=r"test_images.npy: no such file$"):
        images.batches("test", **options)
    with pytest.raises(UserError, match=r"test_images.npy: no such file$"):
        images.pixels("test", 0)
