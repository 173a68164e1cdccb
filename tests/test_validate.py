"""A value that is not allowed is refused before DVC removes what an earlier one gave."""

import pytest
import yaml

from tests.clone import Clone
from tests.conftest import TINY


@pytest.mark.slow
def test_a_refused_value_leaves_models_and_curves_where_they_are(tmp_path):
    clone = Clone(tmp_path / "clone", "params.yaml", TINY | {"teacher.epochs": 1})
    clone.repro("teacher@resnet20-1")
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    outs = [clone.folder / out["path"] for out in lock["teacher@resnet20-1"]["outs"]]
    process = clone.start("dvc", "exp", "run", "-S", "teacher.learning_rate=-1")
    printed = process.communicate()[0]
    assert process.returncode != 0
    assert "error: params.yaml: teacher.learning_rate is -1" in printed
    assert all(out.exists() for out in outs)
    clone.run("git", "checkout", "--quiet", "params.yaml")
    assert clone.repro("teacher@resnet20-1") <= {"validate"}
