"""The rows of command lines, recipes and reports are the same."""

import re
from pathlib import Path

import pytest

from pipeline.names import BINARY_ROWS, FINETUNED_ROWS, ROWS, STEP_ONE_ROWS
from pipeline.reporting.rows import ROWS as REPORTED
from tests.conftest import ROOT, read_yaml

ALLOWED = {"finetune": FINETUNED_ROWS, "binarize": BINARY_ROWS + STEP_ONE_ROWS}


@pytest.mark.parametrize("recipe", ["dvc.yaml", "tables/two_steps.yaml"])
def test_every_row_of_a_recipe_is_one_that_its_stage_trains(recipe):
    rows = set()
    for name, stage in read_yaml(ROOT / recipe)["stages"].items():
        module = re.search(r"stages\.(\w+)", stage["cmd"])[1]
        given = re.search(r"--row (\S+)", stage["cmd"])
        if given:
            (row,) = [values["row"] for values in stage["vars"] if "row" in values]
            row = given[1].replace("${row}", row)
            assert row in ALLOWED[module], name
            rows.add(row)
    assert rows >= {"kurtosis", "binary", "complete"}


def test_every_row_of_the_report_may_be_trained():
    assert {row.name for row in REPORTED} <= set(ROWS)


def test_a_row_is_the_name_of_a_file():
    for row in ROWS:
        assert Path(row).name == row and re.fullmatch("[a-z-]+", row)
