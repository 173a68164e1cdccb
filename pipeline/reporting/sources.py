"""What the report uses that was not measured: published figures, notes on files, the ledger."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from pipeline.artifacts import reading
from pipeline.errors import UserError

EmptyIsNone = BeforeValidator(lambda text: text or None)
Percent = Annotated[float, Field(ge=0, le=100)]
OptionalPercent = Annotated[Percent | None, EmptyIsNone]
OptionalEpochs = Annotated[Annotated[int, Field(gt=0)] | None, EmptyIsNone]
OptionalUrl = Annotated[Annotated[str, Field(pattern=r"^https://\S+$")] | None, EmptyIsNone]


class PublishedFigure(BaseModel):
    """A line of published.csv."""

    dataset: str
    arch: str
    method: str
    weight_bits: int
    activation_bits: int
    top1: OptionalPercent
    top5: OptionalPercent
    confidence: Literal["primary", "secondary", "not confirmed"]
    """`primary`: the method's own paper or README; `secondary`: the table of another work."""
    source: str
    epochs: OptionalEpochs = None
    """Epochs of training, all steps together, as the source or its training script states them."""
    url: OptionalUrl = None
    revision: Annotated[str | None, EmptyIsNone] = None
    """Commit or version at which the source was read."""


class FileNote(BaseModel):
    """A line of notes.csv: what is known of a data file."""

    sha256: str
    name: str
    """The name of a data set that has this file."""
    note: str
    classes: str = ""
    """Names of the classes, separated by semicolons, in the order of their labels; if empty, the
    labels are shown."""


class Choice(BaseModel):
    """A line of fidelity.csv: one choice of the method."""

    choice: str
    paper: str
    released: str
    field: str
    ours: str
    why: str
    parameters: str
    """Keys of params.yaml that set it, separated by spaces."""


Line = TypeVar("Line", bound=BaseModel)


def read_lines(path: Path, kind: type[Line]) -> list[Line]:
    """Read a CSV file with a header, one `kind` per line.

    Raises:
        UserError: the file is missing, is not CSV, lacks a column, or holds a value that is not
            allowed, whose line is then named.
    """
    with reading(path, "valid CSV", csv.Error, UnicodeDecodeError):
        content = path.read_bytes().decode()
        table = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        names, lines = table.fieldnames or [], list(table)
    if "\0" in content:
        raise UserError(f"{path}: is not valid CSV (it holds a NUL)")
    if len({*names}) < len(names):
        raise UserError(f"{path}: names a column twice")
    found = []
    for number, line in enumerate(lines, start=1):
        if None in line:
            raise UserError(f"{path}: entry {number} has more columns than the heading")
        try:
            found.append(kind.model_validate(line))
        except ValidationError as error:
            first = error.errors()[0]
            key = first["loc"][0]
            if first["type"] == "missing":
                raise UserError(f"{path}: has no column {key!r}") from None
            raise UserError(
                f"{path}: entry {number}: {key} is {line[str(key)]!r}: {first['msg']}"
            ) from None
    return found


def note_on(origin: dict[str, Any], notes: Sequence[FileNote]) -> FileNote | None:
    """The first note on a data file whose checksum stands in `origin` of a manifest."""
    checksums = set(_checksums(origin))
    return next((note for note in notes if note.sha256 in checksums), None)


def _checksums(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _checksums(item)
    elif isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        yield value
