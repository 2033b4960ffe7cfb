"""The package stays one that people find their way in: few rooms, short files, short functions."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import bidsplan

ROOT = Path(bidsplan.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def code_lines(text):
    """Find the numbers of lines that are neither blank, nor comments, nor docstrings."""
    tree = ast.parse(text)
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and is_text(node.value)]
    documented = {line for node in texts for line in range(node.lineno, node.end_lineno + 1)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    used = {
        line
        for token in tokens
        if token.type not in NOT_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return used - documented


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def functions(path):
    """List the functions of a file, each with its number of code lines."""
    text = path.read_text(encoding="utf-8")
    lines = code_lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, len(lines & set(range(node.lineno, node.end_lineno + 1)))


def parameters(function):
    """Count what a caller passes."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return len([name for name in named if name.arg not in {"self", "cls"}])


def test_the_rooms_and_modules_at_the_top():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert rooms == {
        "bids",
        "cli",
        "compile",
        "destination",
        "manifest",
        "plan",
        "provisioning",
        "review",
        "s3bids",
        "storage",
        "transfer",
    }
    assert modules == {
        "__init__",
        "__main__",
        "command_lines",
        "errors",
        "events",
        "fetching",
        "help_codes",
        "messages",
        "paths",
        "plan_filesystem",
        "progress",
        "pytest_plugin",
        "redaction",
        "urls",
    }


def test_files_and_functions_are_short():
    assert [path for path in FILES if len(path.read_text("utf-8").splitlines()) > 400] == []
    lengths = [(length, path, node.name) for path in FILES for node, length in functions(path)]
    assert [found for found in lengths if found[0] > 40] == []
    ordered = sorted(length for length, _, _ in lengths)
    assert ordered[len(ordered) // 2] <= 12


def test_few_functions_take_many_arguments():
    found = [
        (path.name, node.name)
        for path in FILES
        for node, _ in functions(path)
        if parameters(node) > 7
    ]
    assert len(found) <= 6, found


def test_no_public_function_has_the_name_of_a_module():
    modules = {path.stem for path in FILES if path.parent.name != "commands"}
    modules |= {path.name for path in ROOT.rglob("*") if path.is_dir()}
    assert modules & set(bidsplan.__all__) == set()
