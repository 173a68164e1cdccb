"""What `make accept` looks at; tests of whole chains are too long for this suite."""

import subprocess
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tools import accept

CODE = '''"""A docstring
of two lines."""

import math

# a comment
FACTOR = 2.0


def area(
    radius,
):
    """Area."""
    return (
        FACTOR
        * math.pi
        * radius**2
    )
'''


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["init", "--quiet"],
        ["config", "user.name", "test"],
        ["config", "user.email", "test@example.org"],
    ):
        subprocess.run(["git", *command], check=True)
    Path("pipeline").mkdir()
    Path("pipeline/circle.py").write_text(CODE)
    subprocess.run(["git", "add", "--all"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "first"], check=True)
    return tmp_path


def test_lines_of_code_belong_to_the_statement_they_are_a_part_of():
    found = accept.statements(CODE)
    lines = CODE.splitlines()
    assert {lines[number - 1].strip() for number in found if found[number] != number} == {
        "radius,",
        "):",
        "FACTOR",
        "* math.pi",
        "* radius**2",
        ")",
    }
    assert lines[found[lines.index("        * math.pi") + 1] - 1] == "    return ("


def test_docstrings_comments_and_blank_lines_are_no_statements():
    found = accept.statements(CODE)
    lines = CODE.splitlines()
    for text in ('"""A docstring', 'of two lines."""', "# a comment", "", '    """Area."""'):
        assert lines.index(text) + 1 not in found, text


def test_imports_for_type_checking_alone_are_no_statements_that_run():
    source = "A = 1\nif TYPE_CHECKING:  # slow\n    import torch\nif A:\n    B = 2\n"
    assert accept.statements(source) == {1: 1, 4: 4, 5: 5}


def test_changed_lines_are_those_of_the_working_tree(repository):
    path = repository / "pipeline/circle.py"
    path.write_text(CODE.replace("FACTOR = 2.0", "FACTOR = 1.0"))
    (repository / "pipeline/new.py").write_text("A = 1\nB = 2\n")
    assert accept.changed_lines("HEAD") == {
        "pipeline/circle.py": {CODE.splitlines().index("FACTOR = 2.0") + 1},
        "pipeline/new.py": {1, 2},
    }


def test_a_base_that_is_no_commit_is_named(repository):
    with pytest.raises(UserError, match=r"BASE is 'nowhere': no such commit"):
        accept.revision("nowhere")


@pytest.mark.parametrize(
    ("path", "checked"),
    [
        ("pipeline/losses/kurtosis.py", True),
        ("pipeline/params.py", True),
        ("stages/teacher.py", True),
        ("pipeline/reporting/tables.py", False),
        ("stages/report.py", False),
        ("stages/study.py", False),
        ("stages/cells.py", False),
        ("stages/programs.py", False),
        ("tools/accept.py", False),
    ],
)
def test_the_code_whose_lines_must_run_is_that_of_results(path, checked):
    assert bool(accept.CHECKED.fullmatch(path)) == checked


@pytest.mark.parametrize(
    ("path", "before", "after", "same"),
    [
        ("pipeline/circle.py", '"""Area."""', '"""Its area."""', True),
        ("pipeline/circle.py", "# a comment\n", "", True),
        ("pipeline/circle.py", "FACTOR = 2.0", "FACTOR = 1.0", False),
        ("pipeline/new.py", "", "A = 1\n", False),
        ("tables/small/params.yaml", "", "a: 1\n", False),
        ("docs/notes.md", "", "Words.", True),
    ],
)
def test_a_changed_file_computes_the_same_where_only_words_changed(
    repository, path, before, after, same
):
    file = repository / path
    file.parent.mkdir(parents=True, exist_ok=True)
    content = file.read_text() if file.exists() else ""
    file.write_text(content.replace(before, after) if before else after)
    assert accept.is_same_program("HEAD", path) == same


def test_a_file_that_is_gone_does_not_compute_the_same(repository):
    (repository / "pipeline/circle.py").unlink()
    assert "pipeline/circle.py" in accept.changed_lines("HEAD")
    assert not accept.is_same_program("HEAD", "pipeline/circle.py")
