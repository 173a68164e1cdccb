"""The real `dvc repro` on a tiny run in a temporary copy: run, again, one parameter changed."""

import json
import os
import re
import signal
import time

import pandas as pd
import pytest
import yaml

from tests.clone import Clone, stages_run
from tests.conftest import TINY

KURTOSIS_CELLS = {
    "validate",
    "finetune@resnet20-1",
    "complete@resnet20-1",
    "evaluate-teachers@resnet20-kurtosis-1",
    "evaluate-complete@resnet20-complete-1",
    "export@resnet20-kurtosis-1",
    "export@resnet20-complete-1",
    "report",
}
ROWS = ("full-precision", "fine-tuned", "kurtosis", "binary", "complete")


@pytest.fixture
def clone(tmp_path) -> Clone:
    """Without the rows between, whose stages are those of `binary` with other losses."""
    return Clone(tmp_path / "clone", "params.yaml", TINY, {"ablation_seeds": []})


def metrics_of(clone: Clone, row: str) -> dict:
    return json.loads((clone.folder / f"results/digits/resnet20-{row}-1.json").read_text())


def output_hashes(clone: Clone) -> dict[str, str]:
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())
    outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs}


@pytest.mark.slow
def test_the_pipeline_runs_repeats_and_reruns_only_what_a_parameter_touches(clone):
    ran = clone.repro()
    assert ran == set(clone.run("dvc", "stage", "list", "--name-only").split())
    for row in ROWS:
        metrics = metrics_of(clone, row)
        assert metrics["row"] == row
        assert 0 <= metrics["top1_low"] <= metrics["top1"] <= metrics["top1_high"] <= 1
    report = (clone.folder / "reports/digits/report.html").read_text()
    for words in ("kurtosis", "Fidelity", "binary alone"):
        assert words.lower() in report.lower()
    first = output_hashes(clone)

    assert clone.repro() == set()
    loss = clone.folder / "pipeline/losses/kurtosis.py"
    loss.write_text(loss.read_text().replace('"""', '"""Words. ', 1))
    assert clone.repro() == set(), "a docstring is no code"
    names = clone.folder / "pipeline/names.py"
    names.write_text(names.read_text() + "MORE = 1\n")
    assert clone.repro("validate") == {"validate"}
    clone.run("git", "checkout", "pipeline")

    before = {row: metrics_of(clone, row) for row in ROWS}
    changed = clone.run("dvc", "exp", "run", "-S", "kurtosis.weight=0.1")
    assert stages_run(changed) == KURTOSIS_CELLS
    difference = clone.run("git", "diff", "--stat", "params.yaml")
    assert "1 insertion(+), 1 deletion(-)" in difference
    after = {row: metrics_of(clone, row) for row in ROWS}
    for row in ROWS:
        touched = "kurtosis" in row or "complete" in row
        assert (before[row] != after[row]) == touched, row
    table = clone.run("dvc", "exp", "show", "--csv")
    assert "resnet20.complete.top1" in table
    assert "top1" in clone.run("dvc", "metrics", "diff")
    clone.run("dvc", "plots", "show")
    plots = (clone.folder / "dvc_plots/index.html").read_text()
    assert "validation_top1" in plots
    assert "tableau10" in plots and "viridis" in plots, "the templates rows and layers"
    assert not clone.run("git", "status", "--short", "dvc_plots")
    assert "layer3.2.conv2" in plots
    assert "figures/headline-resnet20.png" in plots

    second = output_hashes(clone)
    rerun = {path for path in first if first[path] != second[path]}
    assert all("kurtosis" in path or "complete" in path or "reports/" in path for path in rerun)


@pytest.mark.slow
def test_dvc_repro_goes_on_where_a_killed_one_was(tmp_path):
    epochs = 40
    clone = Clone(tmp_path / "clone", "params.yaml", TINY | {"teacher.epochs": epochs})
    checkpoints = clone.folder / ".scratch/digits/resnet20-full-precision-1"
    lock = clone.folder / "dvc.lock"

    def saved() -> int:
        marks = checkpoints.glob("*/epoch-*.sha256")
        return max((int(mark.stem.removeprefix("epoch-")) for mark in marks), default=0)

    for number in (signal.SIGKILL, signal.SIGTERM):
        before = saved()
        process = clone.start("dvc", "repro", "teacher@resnet20-1")
        deadline = time.monotonic() + 120
        while saved() == before:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, number)
        process.communicate()
        assert process.returncode != 0
        assert not lock.exists() or "teacher@" not in lock.read_text()
        assert not (clone.folder / "models/digits/resnet20-full-precision-1").exists()

    before = saved()
    again = clone.run("dvc", "repro", "teacher@resnet20-1")
    logged = [int(epoch) for epoch in re.findall(rf" epoch (\d+)/{epochs}:", again)]
    assert logged == list(range(before + 1, epochs + 1))
    assert "teacher@resnet20-1" in lock.read_text()
    curves = clone.folder / "results/digits/curves/resnet20-full-precision-1.csv"
    assert pd.read_csv(curves)["epoch"].tolist() == list(range(1, epochs + 1))
