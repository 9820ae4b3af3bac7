"""Only the classes of vlrlt/errors.py leave our code; their drawing is their tree."""

import ast
import builtins
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlrlt import errors
from vlrlt.errors import CorruptVideoError, DecodeError, DecodeTimeoutError, UnreachableFileError, VlrltError

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for top in ("vlrlt", "train", "index", "ui") for path in (ROOT / top).rglob("*.py"))
OURS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
ALLOWED = {
    "AssertionError": "a mistake of ours, not of the caller",
    "NotImplementedError": "a protocol's body",
    "typer.Exit": "the exit code of a command",
    "ToolError": "what the SDK of the Model Context Protocol shows to an assistant (serve/mcp.py)",
}
ALLOWED_IN = {
    ("vlrlt/__init__.py", "AttributeError"): "a name that the module does not have (PEP 562)",
    ("vlrlt/__init__.py", "ImportError"): "the system is Windows",
    ("index/__init__.py", "ModuleNotFoundError"): "import index instead of vlrlt.index",
    ("train/__init__.py", "ModuleNotFoundError"): "likewise",
    ("ui/__init__.py", "ModuleNotFoundError"): "likewise",
    ("index/library/failpoints.py", "OSError"): "stands for an error of the system in make test-crash",
    ("vlrlt/export/piece.py", "TypeError"): "caught where it is raised",
    ("vlrlt/video/media.py", "OSError"): "what FFmpeg says of the disk, as Python says it; who calls maps it",
    ("vlrlt/video/limited.py", "TypeError"): "how json is told of a value that it cannot write; a mistake of ours",
    ("train/clips.py", "RuntimeError"): "a mistake of ours",
}
PARSED = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def raised() -> Iterator[tuple[str, ast.expr]]:
    """Every `raise X` with its module."""
    for name, tree in PARSED.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and node.exc is not None:
                yield from (
                    (name, made) for made in (node.exc.values if isinstance(node.exc, ast.BoolOp) else [node.exc])
                )


def made_by(function: str, module: str) -> set[str]:
    """What the functions of a name are annotated to return: those of the module, or where it has none, of all."""
    trees = [PARSED[module], *PARSED.values()]
    for found in (trees[:1], trees[1:]):
        returned = {
            ast.unparse(node.returns).strip("'\"")
            for tree in found
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == function and node.returns is not None
        }
        if returned:
            return returned
    return {"nothing known"}


def test_no_module_raises_anything_else() -> None:
    seen = set()
    for module, expression in raised():
        called = expression.func if isinstance(expression, ast.Call) else expression
        name = ast.unparse(called)
        last = name.rpartition(".")[2]
        if last in OURS or name.partition(".")[0] in OURS or name in ALLOWED:
            continue
        if (module, name) in ALLOWED_IN:
            seen.add((module, name))
        elif isinstance(expression, ast.Call):
            assert made_by(last, module) <= OURS.keys(), f"{module} raises what {name} makes"
        else:  # an error that was caught or kept: its class was checked where it was made
            assert last.islower() or last.startswith("_"), f"{module} raises {name}"
            assert last not in vars(builtins), f"{module} raises {name}"
    assert seen == ALLOWED_IN.keys(), "an exception from the rule that nothing needs any more"


def test_no_module_makes_a_class_of_errors_of_its_own() -> None:
    for module, tree in PARSED.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and module != "vlrlt/errors.py":
                bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                assert not any(base in OURS or base.endswith(("Error", "Exception")) for base in bases), module


def test_the_drawing_is_the_tree() -> None:
    """Indentation, names and, in brackets, second bases."""
    drawn: dict[str, tuple[str | None, str | None]] = {}
    parents: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        match = re.match(r"([│├└─ ]*)(\w+Error)(?: \((\w+)\))?(?: {2,}.+)?$", line)
        if match:
            depth = len(match[1]) // 4
            del parents[depth:]
            drawn[match[2]] = (parents[-1] if parents else None, match[3])
            parents.append(match[2])
    assert drawn == {
        name: (
            None if kind is VlrltError else kind.__bases__[0].__name__,
            kind.__bases__[1].__name__ if len(kind.__bases__) > 1 else None,
        )
        for name, kind in OURS.items()
    }


@pytest.mark.parametrize("kind", [DecodeError, CorruptVideoError, DecodeTimeoutError, UnreachableFileError])
def test_decode_errors_survive_the_way_from_another_process(kind: type[DecodeError]) -> None:
    error = kind(Path("there.mp4"), stage="seek", reason="it ends")
    error.may_pass = not error.may_pass
    back = DecodeError.from_json(error.as_json(), path=Path("here.mp4"))
    assert type(back) is kind
    assert (str(back), back.stage, back.may_pass) == ("here.mp4: cannot seek: it ends", "seek", error.may_pass)
