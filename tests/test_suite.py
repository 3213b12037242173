"""What the suite asks of its own tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
EXIT_CODES = ("code", "returncode")


def test_no_test_takes_any_of_several_exit_codes() -> None:
    """A command that may end in two ways is shown to end in neither."""
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 100
    assert [where for file in files for where in several_codes(file)] == []


def several_codes(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.In):
            continue
        if isinstance(node.left, ast.Attribute) and node.left.attr in EXIT_CODES:
            yield f"{file.relative_to(TESTS)}:{node.lineno}: {ast.unparse(node)}"
