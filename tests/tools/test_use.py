import os
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.conftest import ROOT
from tools.use import use


@pytest.fixture
def tables(tmp_path) -> Path:
    for name, content in {
        "cifar10": "table: cifar10",
        "study": "base: digits",
        "more": "base: study",
    }.items():
        folder = tmp_path / "tables" / name
        folder.mkdir(parents=True)
        (folder / "cells.yaml").write_text(content)
    return tmp_path


def test_a_table_is_shown_once_with_the_one_that_it_varies(tables):
    written = [tables / "tables" / name / ".dvcignore" for name in ("study", "more")]
    assert use("more", tables) == written
    assert use("more", tables) == use("digits", tables) == []
    assert not (tables / "tables/cifar10/.dvcignore").exists()


@pytest.mark.parametrize("name", ["", "nothing", ".."])
def test_an_unknown_table_is_named(tables, name):
    with pytest.raises(UserError, match=r"table is '.*': allowed are digits, cifar10, more, study"):
        use(name, tables)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("nothing", "base is 'nothing': allowed are digits, cifar10, more, study"),
        ("0x" + "f" * 5000, "base is a number of thousands of digits: allowed are digits"),
        ("[study]", r"base is \['study'\]: allowed are digits, cifar10, more, study"),
        ("study", "base is 'study': a table cannot vary itself"),
        ("more", "base is 'more': a table cannot vary itself"),
    ],
)
def test_a_base_that_is_none(tables, base, expected):
    (tables / "tables/study/cells.yaml").write_text(f"base: {base}")
    with pytest.raises(UserError, match=expected):
        use("more", tables)
    assert not list(tables.rglob(".dvcignore")), "nothing is shown"


def test_a_folder_in_the_place_of_the_file_is_named(tables):
    path = tables / "tables/study/.dvcignore"
    path.mkdir()
    with pytest.raises(UserError, match=f"{path}: could not be written"):
        use("study", tables)


@pytest.mark.parametrize(
    "content", ["", "[]", "a: [", "- b", "a: 2026-13-45", "[" * 9999, '!!int ""', "base: !!bool x"]
)
def test_cells_that_are_no_mapping_are_named(tables, content):
    path = tables / "tables/cifar10/cells.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: is not a mapping"):
        use("cifar10", tables)


@pytest.mark.slow
def test_dvc_sees_the_digits_and_the_tables_in_use_also_in_a_revision(tmp_path):
    clone = tmp_path / "clone"
    subprocess.check_call(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)])

    def dvc(*arguments: str) -> str:
        environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
        return subprocess.check_output(["dvc", *arguments], cwd=clone, text=True, env=environment)

    assert "tables/" not in dvc("stage", "list", "--all", "--name-only")
    use("cifar10", clone)
    assert "tables/cifar10/dvc.yaml:teacher@resnet20-1" in dvc(
        "stage", "list", "--all", "--name-only"
    )
    assert "tables/study" not in dvc("stage", "list", "--all", "--name-only")
    assert not subprocess.check_output(["git", "status", "--short"], cwd=clone)
    metrics = clone / "reports/digits/metrics.json"
    metrics.write_text(metrics.read_text().replace('"seeds": 3', '"seeds": 4', 1))
    found = dvc("metrics", "diff", "--md").splitlines()
    (changed,) = [line.split("|") for line in found if str(Path("reports/digits")) in line]
    assert [cell.strip() for cell in changed[3:5]] == ["3", "4"], "HEAD and workspace"
