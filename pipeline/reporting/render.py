"""Rendering a report into its folder, whole or not at all."""

import contextlib
import glob
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat

from pipeline.artifacts import write_json, write_text
from pipeline.errors import UserError
from pipeline.reporting.loading import load_results
from pipeline.reporting.metrics import table_metrics
from pipeline.reporting.notebook import ROOT, execute, normalize, to_html
from pipeline.reporting.training_cost import DATA, PAGE, write_cost

SOURCES = ROOT / "reports"
SUFFIXES = {".csv", ".md", ".png", ".svg"}
"""Suffixes of the files in the folders of PARTS."""
LONGEST_SCRATCH = 90
"""Bytes of a path that leave room for the names of sockets, whose paths have at most 107."""
PARTS = ("tables", "figures", "metrics.json", DATA, PAGE, "report.ipynb", "report.html")


def render(params: Path, results: Path, published: Path, out: Path) -> None:
    """Run the notebook `reports/report.py` on `results` and replace the report in `out`.

    Other files in `out` stay. Equal inputs give equal bytes, wherever they lie.

    Args:
        params: params.yaml of the data set, which shows whether the results still belong to it.
        results: `results/<data set>`.
        published: Published figures to set beside ours.
        out: Folder that gets PARTS.

    Raises:
        UserError: an input is missing or malformed, the path of the folder for temporary files is
            too long for a socket, or `out` cannot be written. Nothing in `out` has changed, unless
            a part of PARTS could not be moved there in the end.
    """
    parameters = {
        "params": params,
        "results": results,
        "published": published,
        "notes": SOURCES / "notes.csv",
        "ledger": SOURCES / "fidelity.csv",
        "measurements": ROOT / "benchmarks" / "results",
    }
    with _replacing(out) as staged:
        stage = _stage(params)
        _draw("report.py", parameters, stage, staged, out)
        cells = load_results(results)
        write_json(staged / "metrics.json", table_metrics(cells))
        write_cost(cells, staged, f"dvc repro {stage}")


def render_study(results: Path, variants: Path, out: Path) -> None:
    """Run the notebook `reports/study.py`, as `render` runs its own.

    Args:
        results: `results/<table>`.
        variants: `results/<table of its variants>`.
        out: Folder that gets PARTS without the metrics and the cost of training.

    Raises:
        UserError: as in `render`.
    """
    parameters = {"results": results, "variants": variants, "notes": SOURCES / "notes.csv"}
    with _replacing(out) as staged:
        _draw("study.py", parameters, f"tables/{variants.name}/dvc.yaml:report", staged, out)


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield an empty folder, and move what lies in it to `out` if the block succeeds."""
    try:
        for path in sorted(each for part in PARTS for each in (out / part).glob("*")):
            if path.is_dir() or path.suffix not in SUFFIXES:
                raise UserError(f"{path}: no report puts that there; name another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(out.parent, f".{out.name}.", ".part") as staged:
            yield staged
            out.mkdir(exist_ok=True)
            for part in PARTS:
                if (staged / part).exists():
                    _replace(staged / part, out / part)
    except OSError as error:
        raise UserError(f"{out}: could not be written: {error.strerror or error}") from error


def _draw(source: str, inputs: Mapping[str, Path], stage: str, staged: Path, out: Path) -> None:
    """Execute a notebook of SOURCES for a report in `out`; write it and its page to `staged`."""
    digest = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:8]
    parameters = {**inputs, "out": staged}
    with _temporary_folder(Path(tempfile.gettempdir()), f"report-{digest}.", "") as scratch:
        if len(bytes(scratch)) > LONGEST_SCRATCH:
            raise UserError(f"TMPDIR is {scratch.parent}: too long for the sockets of a notebook")
        notebook = execute(
            SOURCES / source,
            {name: str(path.resolve()) for name, path in parameters.items()}
            | {"redraw": f"dvc repro {stage}"},
            scratch,
        )
    names = {str(path.resolve()): _name(path) for path in inputs.values()}
    normalize(notebook, names | {str(staged.resolve()): _name(out)})
    write_text(staged / "report.ipynb", nbformat.writes(notebook) + "\n")
    write_text(staged / "report.html", to_html(notebook, staged))


@contextlib.contextmanager
def _temporary_folder(parent: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """Yield a new folder and remove it in the end; first remove those that a killed report left."""
    for left in parent.glob(f"{glob.escape(prefix)}*{suffix}"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=parent) as folder:
        yield Path(folder)


def _stage(params: Path) -> str:
    """DVC's name of the report stage whose dvc.yaml lies beside the params."""
    pipeline = Path(_name(params)).with_name("dvc.yaml")
    return "report" if pipeline.name == str(pipeline) else f"{pipeline}:report"


def _name(path: Path) -> str:
    """Path inside the project; the name alone of a file that lies elsewhere."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _replace(new: Path, old: Path) -> None:
    if old.is_dir():
        shutil.rmtree(old)
    new.replace(old)
