"""Several stages at a time, with a DVC of three stages that write a file each."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.conftest import ROOT
from tools.campaign import dependencies

RECIPE = """
stages:
  first:
    wdir: ../..
    cmd: echo first > first.txt
    outs: [first.txt]
  second:
    wdir: ../..
    cmd: cat first.txt > second.txt
    deps: [first.txt]
    outs: [second.txt]
  apart:
    wdir: ../..
    cmd: {apart}
    outs: [apart.txt]
"""


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["dvc", "init", "--quiet"], check=True)
    recipe = tmp_path / "tables/small/dvc.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE.format(apart="echo apart > apart.txt"))
    recipe.with_name("cells.yaml").write_text("table: small\n")
    return tmp_path


def campaign(repository: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tools.campaign", *arguments],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_stage_of_a_table_is_run(repository):
    end = campaign(repository, "small")
    assert end.returncode == 0, end.stderr
    assert (repository / "second.txt").read_text() == "first\n"
    assert (repository / "apart.txt").exists()
    assert "second" in (repository / "tables/small/dvc.lock").read_text()


def test_a_stage_that_fails_stops_only_what_needs_it(repository):
    recipe = repository / "tables/small/dvc.yaml"
    recipe.write_text(recipe.read_text().replace("echo first", "cat nowhere.txt"))
    end = campaign(repository, "small")
    assert end.returncode == 1
    assert end.stderr.splitlines()[-1] == (
        "error: 2 of 3 stages failed: tables/small/dvc.yaml:first, tables/small/dvc.yaml:second"
    )
    assert (repository / "apart.txt").exists()


def test_stages_that_share_a_repro_with_one_that_fails_are_run(repository):
    recipe = repository / "tables/small/dvc.yaml"
    recipe.write_text("""
stages:
  write:
    wdir: ../..
    matrix: {number: [0, 1, 2, 3, 4, 5, 6, 7]}
    cmd: test ${item.number} != 4 && echo written > ${item.number}.txt
    outs: ["${item.number}.txt"]
""")
    end = campaign(repository, "small")
    assert end.stderr.splitlines()[-1] == (
        "error: 1 of 8 stages failed: tables/small/dvc.yaml:write@4"
    )
    assert len(list(repository.glob("?.txt"))) == 7


def test_only_some_stages_and_what_they_need(repository):
    recipe = Path("tables/small/dvc.yaml")
    assert dependencies(recipe, ["second"]) == {
        f"{recipe}:first": set(),
        f"{recipe}:second": {f"{recipe}:first"},
    }
    with pytest.raises(UserError, match="third: no such stage"):
        dependencies(recipe, ["third"])


def test_what_a_table_needs_of_another_comes_first(repository):
    second = Path("tables/second/dvc.yaml")
    second.parent.mkdir()
    second.with_name("cells.yaml").write_text("table: second\n")
    second.write_text(
        "stages:\n  third:\n    wdir: ../..\n    cmd: cat second.txt > third.txt\n"
        "    deps: [second.txt]\n    outs: [third.txt]\n"
    )
    end = campaign(repository, "second")
    assert end.returncode == 0, end.stderr
    assert (repository / "third.txt").read_text() == "first\n"
    assert not (repository / "apart.txt").exists()


def test_an_unknown_table_is_named_with_those_there_are(repository):
    end = campaign(repository, "large")
    assert (end.returncode, end.stderr) == (
        1,
        "error: table is 'large': allowed are digits, small\n",
    )


@pytest.mark.parametrize("jobs", ["0", "-3", "two", "9" * 5000])
def test_a_number_of_jobs_that_is_none(repository, jobs):
    end = campaign(repository, "small", f"--jobs={jobs}")
    assert end.returncode == 2
    assert "error: argument --jobs: '" in end.stderr
    assert "is no whole number from 1 to 999" in end.stderr.splitlines()[-1]


@pytest.mark.parametrize("damage", ["no mapping", "no YAML", "no repository"])
def test_a_recipe_that_dvc_cannot_read_is_one_line(repository, damage):
    if damage == "no repository":
        shutil.rmtree(repository / ".dvc")
    else:
        recipe = repository / "tables/small/dvc.yaml"
        recipe.write_text("stages: [1]\n" if damage == "no mapping" else "stages: {\n")
    end = campaign(repository, "small")
    assert end.returncode == 1
    assert end.stderr.startswith("error: tables/small/dvc.yaml: ")
    assert end.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["2020-13-45", "!!set {a, b}", '!!int "abc"', "&again [*again]"])
def test_a_value_that_dvc_does_not_expect_is_one_line(repository, value):
    recipe = repository / "tables/small/dvc.yaml"
    recipe.with_name("cells.yaml").write_text(f"table: small\nodd: {value}\n")
    recipe.write_text("vars: [cells.yaml]\nstages: {}\n")
    end = campaign(repository, "small")
    assert end.returncode == 1
    assert end.stderr.startswith("error: tables/small/")
    assert end.stderr.count("\n") == 1
