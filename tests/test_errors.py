"""How a command ends that cannot go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator, model_validator

from pipeline.errors import LONGEST_LINE, UserError, first_problem, one_line, run
from tests.conftest import ROOT


def ended(error, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines", r"two\nlines"),
        ("carriage\rreturn", r"carriage\rreturn"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("bell\x07 and \x9b31m", r"bell\x07 and \x9b31m"),
        ("separated\u2028twice\u2029", r"separated\u2028twice\u2029"),
        ("right to left \u202egnp.exe", r"right to left \u202egnp.exe"),
        ("not UTF-8 \udcff", r"not UTF-8 \udcff"),
        ("Bäume und 木", "Bäume und 木"),
    ],
)
def test_what_splits_or_colours_a_line_is_escaped(capsys, name, shown):
    assert ended(UserError(f"{name}: is no image"), capsys) == f"error: {shown}: is no image\n"


def test_an_error_without_end_is_cut(capsys):
    line = ended(UserError("x" * 72_000_000), capsys)
    assert line.startswith("error: xxx") and line.endswith("... (72000007 characters)\n")
    assert len(line) < LONGEST_LINE + 50
    assert one_line("x" * LONGEST_LINE) == "x" * LONGEST_LINE


@pytest.mark.parametrize("main", ["lambda: print(1)", "lambda: None"])
def test_a_closed_output_is_no_error_for_who_does_not_need_it(main):
    command = f"from pipeline.errors import run; run({main})"
    end = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -c '{command}' >&-"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (end.returncode, end.stderr) == (0, "")


class Sums(BaseModel):
    terms: dict[str, list[int]]

    @field_validator("terms")
    @classmethod
    def _named(cls, terms):
        if not terms:
            raise ValueError("there is none")
        return terms

    @model_validator(mode="after")
    def _is_positive(self):
        if sum(map(sum, self.terms.values())) < 0:
            raise ValueError("the sum is below 0")
        return self


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"a": [1, None], "b": [None]}, "terms.a.1: Input should be a valid integer"),
        ({}, "terms: there is none"),
        ({"a": [-1]}, "the sum is below 0"),
    ],
)
def test_the_first_problem_has_its_key_where_there_is_one(terms, told):
    with pytest.raises(ValidationError) as raised:
        Sums(terms=terms)
    assert first_problem(raised.value) == told


def test_a_lack_of_memory_is_one_line(capsys):
    error = MemoryError("Unable to allocate 3.00 TiB for an array")
    assert ended(error, capsys) == f"error: out of memory ({error})\n"


@pytest.mark.parametrize("printed", [1, 100_000], ids=["at the end", "meanwhile"])
@pytest.mark.parametrize("output", ["full", "closed"])
def test_an_output_that_cannot_be_written_is_one_line(output, printed):
    if output == "full":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, end = os.pipe()
        os.close(reader)
    program = f"from pipeline.errors import run; run(lambda: print('x' * {printed}))"
    command = [sys.executable, "-c", program]
    told = subprocess.run(
        command, cwd=ROOT, stdout=end, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(end)
    reason = "No space left on device" if output == "full" else "Broken pipe"
    assert told.stderr == f"error: the output could not be written: {reason}\n"
    assert told.returncode == 1


def test_what_the_encoding_of_the_output_lacks_is_escaped():
    program = "from pipeline.errors import run; run(lambda: print('Bäume', chr(0xDCFF)))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "B\\xe4ume \\udcff\n"


def test_a_file_of_torchrun_that_cannot_be_written_hides_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "missing/error.json"))
    assert ended(UserError("wrong"), capsys) == "error: wrong\n"


def test_another_error_of_a_file_is_a_traceback():
    """It is a fault of the program, which nobody would find without."""
    with pytest.raises(FileNotFoundError):
        run(lambda: Path("missing").read_text())


def restore_ctrl_c():
    """A shell may have it ignored in what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "command", ["stages.binarize", "stages.prepare", "tools.headline", "tools.table"]
)
@pytest.mark.parametrize("imported", ["stages", "pydantic", "numpy"])
def test_ctrl_c_while_modules_are_imported(command, imported):
    """`-X importtime` tells on stderr when a module is there."""
    command = [sys.executable, "-X", "importtime", "-m", command, "--help"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=restore_ctrl_c,  # noqa: PLW1509 -- no thread runs here
    )
    told = []
    for line in process.stderr:
        told.append(line)
        if line.rpartition("|")[2].strip() == imported:
            process.send_signal(signal.SIGINT)
            break
    told += process.stderr.read().splitlines(keepends=True)
    assert process.wait(60) == -signal.SIGINT
    assert [line for line in told if not line.startswith("import time:")] == ["interrupted\n"]
    assert process.stdout.read() == ""
