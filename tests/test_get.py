"""A trained network reaches those who have nothing but the address of the repository."""

from pathlib import Path

import pytest

from pipeline.inference.engine import load_export
from tests.clone import Clone
from tests.conftest import ROOT, read_yaml

TABLES = {"digits": Path(), "cifar10": Path("tables/cifar10")}


@pytest.mark.slow
def test_dvc_get_brings_the_artifact_of_every_table_that_was_run(tmp_path) -> None:
    clone = Clone(tmp_path / "clone", "params.yaml", {})
    for table, folder in TABLES.items():
        cells = read_yaml(ROOT / folder / "cells.yaml")
        name = f"{cells['networks'][0]}-complete-{cells['seeds'][0]}"
        got = tmp_path / table
        clone.run("dvc", "get", str(clone.folder), f"exports/{table}/{name}", "--out", str(got))
        assert load_export(got).manifest.name == name
