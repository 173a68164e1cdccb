"""A trained network reaches its users as the documentation says."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.inference.engine import load_export
from tests.clone import Clone
from tests.conftest import ROOT, read_yaml

TABLES = {"digits": Path(), "cifar10": Path("tables/cifar10")}


EXPORT = "exports/digits/resnet20-complete-1"


def documented(language: str, word: str) -> str:
    """The block of code in docs/experiments.md that holds a word."""
    text = (ROOT / "docs/experiments.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if word in block)


def test_what_the_command_prints_for_the_committed_image() -> None:
    command = documented("sh", "stages.predict").split()
    assert f"`{' '.join(command)}`" in (ROOT / "README.md").read_text()
    given = [command[-1], f"{command[-2]}/export.json"]
    subprocess.check_call(["git", "ls-files", "--error-unmatch", *given], cwd=ROOT)
    printed = subprocess.check_output([sys.executable, *command[1:]], cwd=ROOT, text=True)
    assert f"It prints `{printed.strip()}`." in (ROOT / "docs/experiments.md").read_text()


def test_what_the_code_prints_for_the_committed_image(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(documented("python", "load_export"), {})
    assert printed.getvalue() == "3\n"


@pytest.mark.slow
def test_dvc_brings_one_export_from_an_address_and_from_a_tag(tmp_path) -> None:
    """As dvc reads what Git stores, from a clone that is committed as a whole."""
    clone = tmp_path / "clone"
    subprocess.check_call(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)])
    tag = ["-c", "user.name=test", "-c", "user.email=test@example.org", "tag", "-a", "-m", "first"]
    subprocess.check_call(["git", *tag, "digits-complete@v1.0.0"], cwd=clone)
    address = f"file://{clone}"
    got = documented("sh", "dvc get").replace("<address of this repository>", address).split()
    for command, out in (
        (got, "one"),
        (["dvc", "artifacts", "get", address, "digits-complete"], "two"),
    ):
        subprocess.check_call([*command, "--out", out], cwd=tmp_path)
        assert load_export(tmp_path / out).manifest.name == Path(EXPORT).name


@pytest.mark.slow
def test_dvc_get_brings_the_artifact_of_every_table_that_was_run(tmp_path) -> None:
    clone = Clone(tmp_path / "clone", "params.yaml", {})
    for table, folder in TABLES.items():
        cells = read_yaml(ROOT / folder / "cells.yaml")
        name = f"{cells['networks'][0]}-complete-{cells['seeds'][0]}"
        got = tmp_path / table
        clone.run("dvc", "get", str(clone.folder), f"exports/{table}/{name}", "--out", str(got))
        assert load_export(got).manifest.name == name
