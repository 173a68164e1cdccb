"""A report shows the cells that its table has, and no others that lie beside them."""

import shutil
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.recipes import cells_of
from pipeline.reporting.listing import LISTING, evaluated
from pipeline.reporting.loading import load_results
from pipeline.reporting.overview import left_out, load_tables
from tests.clone import Clone
from tests.conftest import ROOT, read_yaml, run_stage, write_yaml


def names(folder: Path) -> list[str]:
    return [path.stem for path in evaluated(folder)]


def test_a_cell_that_is_not_listed_is_left_out(own_results):
    assert names(own_results) == ["resnet20-binary-1", "resnet20-binary-2"]
    (own_results / LISTING).write_text("resnet20-binary-2\nresnet20-binary-3\n")
    assert names(own_results) == ["resnet20-binary-2"]
    assert [cell.name for cell in load_results(own_results).cells] == ["resnet20-binary-2"]


def test_a_table_of_which_no_cell_is_left(own_results):
    (own_results / LISTING).write_text("")
    with pytest.raises(UserError, match="holds no results"):
        load_results(own_results)
    with pytest.raises(UserError, match="holds no results"):
        load_tables(own_results.parent)


def test_a_table_is_shown_beside_others_once_all_its_cells_are_evaluated(own_results, tmp_path):
    shutil.copytree(own_results, tmp_path / "tables/whole")
    partial = shutil.copytree(own_results, tmp_path / "tables/partial")
    cells = [*names(own_results), "resnet20-binary-3"]
    (partial / LISTING).write_text("".join(f"{cell}\n" for cell in cells))
    folder = tmp_path / "tables"
    assert [results.dataset for results in load_tables(folder)] == ["whole"]
    assert [*left_out(folder)] == ["partial is not shown: 2 of its 3 runs are evaluated."]
    shutil.rmtree(folder / "whole")
    with pytest.raises(UserError, match=r"holds no results \(partial is not shown: 2 of its"):
        load_tables(folder)
    (partial / LISTING).write_text("resnet20-binary-1\n")
    assert [results.dataset for results in load_tables(folder)] == ["partial"]
    assert not [*left_out(folder)]


def test_a_list_names_the_cells_of_variants(own_results):
    variant = own_results / "kurtosis.target=1.4"
    variant.mkdir()
    for each in ("resnet20-binary-1", "resnet20-binary-2"):
        (variant / f"{each}.json").touch()
    (own_results / LISTING).write_text(f"{variant.name}/resnet20-binary-1\nresnet20-binary-2\n")
    assert names(variant) == ["resnet20-binary-1"]


@pytest.mark.parametrize("content", [b"\xff", None], ids=["no text", "a folder"])
def test_a_list_that_is_none(own_results, content):
    path = own_results / LISTING
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        evaluated(own_results)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_recipe_that_dvc_cannot_read(tmp_path):
    with pytest.raises(UserError) as raised:
        cells_of(tmp_path / "dvc.yaml", tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/dvc.yaml: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"networks": ["../../x"]}, "evaluates nothing into "),
        ({"seeds": []}, "evaluates nothing into "),
        ({"networks": ["<b>"]}, "evaluates '<b>-"),
        ({"seeds": [1.5]}, "evaluates 'resnet20-"),
    ],
)
def test_cells_that_are_none_are_refused(tmp_path, cells, told):
    clone = Clone(tmp_path / "clone", "params.yaml", {}, {"ablation_seeds": []} | cells)
    out = clone.folder / "results/digits" / LISTING
    before = out.read_text() if out.exists() else None
    stage = ("cells", "--recipe", "dvc.yaml", "--out", out)
    end = run_stage(*stage, cwd=clone.folder, check=False)
    assert end.returncode == 1
    assert end.stderr.startswith(f"error: dvc.yaml: {told}") and end.stderr.count("\n") == 1
    assert (out.read_text() if out.exists() else None) == before


@pytest.mark.slow
def test_dvc_lists_the_cells_anew_when_a_seed_or_a_row_is_taken_out(tmp_path):
    clone = Clone(tmp_path / "clone", "params.yaml", {}, {"seeds": [1, 2]})
    cells, recipe = clone.folder / "cells.yaml", clone.folder / "dvc.yaml"

    def listed() -> set[str]:
        clone.run("dvc", "repro", "--single-item", "cells")
        return set((clone.folder / "results/digits" / LISTING).read_text().splitlines())

    of_both_seeds = listed()
    committed = {path.stem for path in ROOT.glob("results/digits/*-1.json")}
    assert {name for name in of_both_seeds if name.endswith("-1")} == committed
    assert {name for name in of_both_seeds if name.endswith("-2")} < {
        f"{name.removesuffix('-1')}-2" for name in committed
    }

    write_yaml(cells, read_yaml(cells) | {"seeds": [1]})
    assert listed() == committed

    text = recipe.read_text()
    assert text.count("row: [binary-kurtosis, ") > 0
    recipe.write_text(text.replace("row: [binary-kurtosis, ", "row: ["))
    assert listed() == committed - {"resnet20-binary-kurtosis-1"}
