"""What README claims is what is committed."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.reporting.loading import load_results
from tests.conftest import ROOT
from tests.reporting.synthetic import edit_json, write_results
from tools.headline import training_cost
from tools.readme import main, old

README = (ROOT / "README.md").read_text()
EMPTY = "# A\n\n<!-- verdict -->\n<!-- end -->\n\nProse.\n\n<!-- results -->\n<!-- end -->\n"


def readme_tool(root: Path, *options: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tools.readme", "--root", str(root), *options])
        main()


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A README with empty blocks, filled once; tests only read it."""
    root = tmp_path_factory.mktemp("project")
    write_results(root / "results" / "digits", layers=1, seeds=[1])
    (root / "reports").mkdir()
    for name in ("published.csv", "notes.csv"):
        shutil.copy(ROOT / "reports" / name, root / "reports")
    (root / "README.md").write_text(EMPTY)
    readme_tool(root)
    return root


def test_readme_and_its_picture_are_what_the_committed_results_give():
    readme_tool(ROOT, "--check")


def test_both_blocks_are_filled_and_nothing_else_changes(project):
    filled = (project / "README.md").read_text()
    verdict, results = old(filled, "verdict"), old(filled, "results")
    assert verdict.count("| digits, ResNet-20") == 1 + 5
    assert "\n| Complete (BD-BNN) | 9" in results
    assert "Test top-1 in %, mean and 95 % interval." in results
    assert filled.replace(verdict, "").replace(results, "") == EMPTY
    readme_tool(project, "--check")


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("README.md", ("undecided", "holds"), "block verdict of {root}/README.md"),
        ("README.md", ("1 seed)", "3 seeds)"), "block results of {root}/README.md"),
        ("docs/method.png", (), "{root}/docs/method.png"),
    ],
)
def test_the_check_names_what_differs_and_changes_nothing(project, tmp_path, file, change, named):
    root = shutil.copytree(project, tmp_path / "project")
    path = root / file
    if change:
        lines = path.read_text()
        block = named.split()[1]
        content = old(lines, block)
        path.write_text(lines.replace(content, content.replace(*change)))
    else:
        path.write_bytes(path.read_bytes() + b"\0")
    before = path.read_bytes()
    with pytest.raises(UserError) as error:
        readme_tool(root, "--check")
    expected = f"{named.format(root=root)}: not what the results give; run make readme"
    assert str(error.value) == expected
    assert path.read_bytes() == before


def test_a_debug_run_is_told_beside_the_results(project, tmp_path):
    root = shutil.copytree(project, tmp_path / "project")
    edit_json(root / "results/digits/resnet20-binary-1.json", debug=True)
    readme_tool(root)
    remark = "\n- digits: DEBUG RUN, NO RESULT: resnet20-binary-1.\n"
    assert remark in old((root / "README.md").read_text(), "results")


def test_a_missing_block_is_one_line():
    with pytest.raises(UserError, match=r"^README\.md: has 0 blocks <!-- verdict --> \.\.\."):
        old("# A\n", "verdict")


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_readme_that_is_missing_or_no_text_is_one_line(project, tmp_path, content):
    root = shutil.copytree(project, tmp_path / "project")
    (root / "README.md").unlink()
    if content:
        (root / "README.md").write_bytes(content)
    with pytest.raises(UserError, match=r"README\.md: (no such file|is not UTF-8 text \()"):
        readme_tool(root)


def test_no_results_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"results: holds no results \(no <table>/"):
        readme_tool(tmp_path)


def test_the_hours_of_a_table_are_those_of_its_trainings():
    [(hours, folder)] = re.findall(r"(\d+\.\d\d) hours \(`(results/[\w-]+)/provenance`\)", README)
    cost = training_cost(load_results(ROOT / folder))
    assert cost.startswith(f"Training: {hours} hours in all")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_into_the_repository_leads_somewhere(target):
    # on GitHub, a badge of a workflow and the page of its runs
    workflow = re.fullmatch(r"\.\./\.\./actions/(workflows/\w+\.yml)(/badge\.svg)?", target)
    assert (ROOT / (f".github/{workflow[1]}" if workflow else target)).exists()


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:pipeline|reports|stages)/[\w./]+)`", README)))
)
def test_every_path_it_names_exists(name):
    assert (ROOT / name).exists()


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)))
)
def test_every_make_target_it_names_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
