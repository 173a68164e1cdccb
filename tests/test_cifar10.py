"""The CIFAR-10 pipeline on a few of its images; needs the Parquet copy of the set."""

import json
import os
from pathlib import Path

import pytest

from tests.clone import Clone

SHARDS = Path(os.environ.get("BDBNN_SHARED", "missing")) / "data" / "cifar10"
pytestmark = pytest.mark.skipif(
    not SHARDS.is_dir(), reason="BDBNN_SHARED names no folder with data/cifar10"
)
FEW = {
    "data.source": "shards",
    "data.location": str(SHARDS),
    "data.limit": 160,
    "teacher.epochs": 1,
    "finetune.epochs": 1,
    "student.epochs": 1,
    "compute.threads": 1,
    "compute.precision": "float32",
    "compute.compile": "off",
}


@pytest.mark.slow
def test_one_row_runs_by_name_and_the_root_pipeline_stays_out_of_it(tmp_path):
    clone = Clone(tmp_path / "clone", "tables/cifar10/params.yaml", FEW)
    pipeline = "tables/cifar10/dvc.yaml"
    ran = clone.repro(f"{pipeline}:evaluate-complete@resnet20-complete-1")
    assert ran == {
        f"{pipeline}:{stage}"
        for stage in (
            "validate",
            "inventory@images",
            "prepare",
            "teacher@resnet20-1",
            "finetune@resnet20-1",
            "complete@resnet20-1",
            "evaluate-complete@resnet20-complete-1",
        )
    }
    metrics = json.loads((clone.folder / "results/cifar10/resnet20-complete-1.json").read_text())
    assert (metrics["network"], metrics["row"], metrics["debug"]) == ("resnet20", "complete", False)
    manifest = json.loads((clone.folder / "data/cifar10/manifest.json").read_text())
    assert sum(manifest["counts"]["test"]) == 160
    names = clone.run("dvc", "status", "dvc.yaml")
    assert "cifar10" not in names
