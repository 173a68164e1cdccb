"""The program of a stage: all code of this project that decides what the stage writes.

DVC makes stages depend on these programs, and checkpoints and the accept tool compare them, so that
an edited loss is always noticed and an edited docstring never is.
"""

import ast
import functools
import hashlib
import io
import tokenize
from pathlib import Path

import grimp
from grimp.exceptions import SourceSyntaxError

from pipeline.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def program(module: str) -> dict[str, str]:
    """Hash the files of a module and of everything in this project that it imports, at any depth.

    Args:
        module: name of the module, such as `stages.teacher`.

    Returns:
        SHA-256 of `code_alone` of each file, by its path below the root of the project.

    Raises:
        UserError: a file is not valid Python.
    """
    try:
        graph = grimp.build_graph("pipeline", "stages", cache_dir=None)
    except SourceSyntaxError as error:
        raise UserError(str(error)) from error
    names = {module} | graph.find_upstream_modules(module)
    paths = {Path(*name.split(".")) for name in names}
    packages = {parent / "__init__.py" for path in paths for parent in path.parents}
    files = sorted({path.with_suffix(".py") for path in paths} | packages)
    return {path.as_posix(): _sha256(ROOT / path) for path in files if (ROOT / path).is_file()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(code_alone(path.read_text(encoding="utf-8")).encode()).hexdigest()


@functools.cache
def code_alone(source: str) -> str:
    """Strip comments, docstrings, blank lines and trailing spaces from Python code.

    Every string that stands alone counts as a docstring, including one below a constant or a field.
    Line breaks count as code, because their normal form would differ between versions of Python.
    """
    lines = source.splitlines()
    docstrings: set[int] = set()
    literals: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt | ast.expr):
            numbers = range(node.lineno - 1, node.end_lineno or node.lineno)
            if _is_docstring(node, lines):
                docstrings.update(numbers)
            elif _is_text(node) and len(numbers) > 1:
                literals.update(numbers)
    literals -= docstrings
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            number, column = token.start
            lines[number - 1] = lines[number - 1][:column]
    return "\n".join(
        line if number in literals else line.rstrip()
        for number, line in enumerate(lines)
        if number in literals or (line.strip() and number not in docstrings)
    )


def _is_text(node: ast.AST) -> bool:
    """Whether an expression is a string literal or an f-string."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_docstring(node: ast.AST, lines: list[str]) -> bool:
    """Whether a statement is a string that has its lines to itself."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    before = lines[node.lineno - 1].encode()[: node.col_offset].strip()
    after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].strip()
    return isinstance(node.value.value, str) and not before and (not after or after[:1] == b"#")
