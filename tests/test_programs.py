import json

import grimp
import pytest

from pipeline import programs
from pipeline.errors import UserError
from pipeline.programs import code_alone, program
from tests.conftest import ROOT, run_stage

CODE = '''"""What it is about."""

SIZE = 3  # centimetres
"""Length of one side."""
NOTE = """one

  two # three
"""


class Square:
    """A square."""

    side: int
    """In centimetres."""


def area(square):
    """Its area."""
    # multiplied
    return square.side**2
'''


def test_comments_docstrings_and_blank_lines_are_no_code():
    assert code_alone(CODE) == (
        'SIZE = 3\nNOTE = """one\n\n  two # three\n"""\n'
        "class Square:\n    side: int\ndef area(square):\n    return square.side**2"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("What it is about", "What it was about"),
        ("# centimetres", "#"),
        ('"""A square."""', '"""A square.\n\n    With four sides.\n    """'),
        ("    # multiplied\n", ""),
        ("\n\nclass", "\nclass"),
    ],
)
def test_a_change_of_words_is_no_change(before, after):
    assert code_alone(CODE.replace(before, after)) == code_alone(CODE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SIZE = 3", "SIZE = 4"),
        ("two # three", "two # four"),
        ("one\n\n", "one\n"),
        ("  two", " two"),
        ("side**2", "side**3"),
        ('"""Its area."""', '"""Its area."""; square = None'),
        ('    """Its area."""', '    None or """Its area."""'),
    ],
)
def test_a_change_of_code_is_one(before, after):
    assert CODE.replace(before, after) != CODE
    assert code_alone(CODE.replace(before, after)) != code_alone(CODE)


def test_a_program_is_a_module_with_all_that_it_imports(tmp_path, monkeypatch):
    files = {
        "a/__init__.py": "",
        "a/first.py": "from a import second\n",
        "a/second.py": "def f():\n    from b.inner.third import g\n    return g\n",
        "a/other.py": "import a.first\n",
        "b/__init__.py": "LOADED = True\n",
        "b/inner/__init__.py": "",
        "b/inner/third.py": "g = 1\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    build = grimp.build_graph
    monkeypatch.setattr(grimp, "build_graph", lambda *_, **options: build("a", "b", **options))
    found = program("a.first")
    assert found.keys() == files.keys() - {"a/other.py"}
    (tmp_path / "b/inner/third.py").write_text("g = 2  # more\n")
    changed = program("a.first")
    assert {name for name in found if changed[name] != found[name]} == {"b/inner/third.py"}


def test_a_file_that_is_not_python_is_named(tmp_path, monkeypatch):
    package = tmp_path / "broken"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "half.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    build = grimp.build_graph
    monkeypatch.setattr(grimp, "build_graph", lambda *_, **options: build("broken", **options))
    with pytest.raises(UserError, match=r"half\.py, line 1"):
        program("broken.half")


def test_checkpoints_depend_on_the_program_of_every_training():
    trainer = program("pipeline.training.phases").items()
    assert trainer
    for stage in ("teacher", "finetune", "binarize"):
        assert trainer <= program(f"stages.{stage}").items()


def test_the_stage_writes_the_program_of_each_stage(tmp_path):
    run_stage("programs", "--out", tmp_path, cwd=ROOT)
    written = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert written["teacher"] == program("stages.teacher")
    assert "pipeline/losses/kurtosis.py" in written["binarize"]
    assert not any(
        name.startswith("pipeline/reporting/") for names in written.values() for name in names
    )
