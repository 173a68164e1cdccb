"""The real `dvc repro` on a tiny run, in a temporary clone: run, run again, change one parameter."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY, with_overrides

KURTOSIS_CELLS = {
    "finetune@resnet20-1",
    "binary-kurtosis@resnet20-1",
    "complete@resnet20-1",
    "evaluate@resnet20-binary-kurtosis-1",
    "evaluate-tuned@resnet20-kurtosis-1",
    "evaluate-tuned@resnet20-complete-1",
    "report",
}
ROWS = (
    "full-precision",
    "kurtosis",
    "binary",
    "binary-kurtosis",
    "binary-distillation",
    "binary-mimicking",
    "complete",
)


class Clone:
    """A working copy with tiny parameters and one seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder.with_name("dvc-site")),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str) -> str:
        """Standard output of a command in the clone; its end must be good."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def repro(self) -> set[str]:
        """Run `dvc repro`; the stages that ran."""
        return set(re.findall(r"^Running stage '(.+)':$", self.run("dvc", "repro"), re.MULTILINE))

    def metrics(self, row: str) -> dict:
        """Metrics of a row."""
        return json.loads((self.folder / f"results/digits/resnet20-{row}-1.json").read_text())

    def hashes(self) -> dict[str, str]:
        """Hash of each output, as dvc.lock has it."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    folder = tmp_path_factory.mktemp("end-to-end") / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith(("results/", "reports/digits/")) or name == "dvc.lock":
            continue
        source, target = ROOT / name, folder / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(with_overrides(params, TINY)))
    pipeline = (folder / "dvc.yaml").read_text()
    assert "seeds: [1, 2]" in pipeline
    (folder / "dvc.yaml").write_text(pipeline.replace("seeds: [1, 2]", "seeds: [1]"))
    clone = Clone(folder)
    clone.run("git", "init", "--quiet")
    clone.run("git", "add", "--all")
    clone.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "tiny")
    return clone


def test_the_pipeline_runs_repeats_and_reruns_only_what_a_parameter_touches(clone):
    ran = clone.repro()
    assert ran == set(clone.run("dvc", "stage", "list", "--name-only").split())
    for row in ROWS:
        metrics = clone.metrics(row)
        assert metrics["row"] == row
        assert 0 <= metrics["top1_low"] <= metrics["top1"] <= metrics["top1_high"] <= 1
    report = (clone.folder / "reports/digits/report.html").read_text()
    for words in ("kurtosis", "Fidelity", "binary alone"):
        assert words.lower() in report.lower()
    first = clone.hashes()

    assert clone.repro() == set()

    before = {row: clone.metrics(row) for row in ROWS}
    changed = clone.run("dvc", "exp", "run", "-S", "kurtosis.weight=0.1")
    assert set(re.findall(r"^Running stage '(.+)':$", changed, re.MULTILINE)) == KURTOSIS_CELLS
    difference = clone.run("git", "diff", "--stat", "params.yaml")
    assert "1 insertion(+), 1 deletion(-)" in difference
    after = {row: clone.metrics(row) for row in ROWS}
    for row in ROWS:
        touched = row in ("kurtosis", "binary-kurtosis", "complete")
        assert (before[row] != after[row]) == touched, row
    table = clone.run("dvc", "exp", "show", "--csv")
    assert "resnet20-complete-1.json:top1" in table
    assert "top1" in clone.run("dvc", "metrics", "diff")
    clone.run("dvc", "plots", "show")
    plots = (clone.folder / "dvc_plots/index.html").read_text()
    assert "validation_top1" in plots
    assert "layer3.2.conv2" in plots

    second = clone.hashes()
    rerun = {path for path in first if first[path] != second[path]}
    assert all("kurtosis" in path or "complete" in path or "reports/" in path for path in rerun)
