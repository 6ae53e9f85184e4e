"""Choose docstrings, messages and test names at random, for a reader without history.

The same seed on the same tree chooses the same texts. `--root` names another tree, such as an older
worktree.
"""

from __future__ import annotations

import argparse
import ast
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LOGGING = frozenset({"debug", "info", "warning", "error", "exception", "print"})
_WORDS = 4


def texts(tree: ast.Module, file: str) -> Iterator[str]:
    """Yield the docstring summaries, the messages of logs and errors, and the test names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if docstring := ast.get_docstring(node):
                yield f"docstring: {docstring.split('\n\n')[0].replace('\n', ' ')}"
            if getattr(node, "name", "").startswith("test_"):
                yield f"test name: {node.name}"  # type: ignore[union-attr]
        elif isinstance(node, ast.Call) and node.args and not file.startswith("tests/"):
            called = ast.unparse(node.func).rpartition(".")[2]
            message = ast.unparse(node.args[0])
            is_message = called in _LOGGING or called.endswith("Error")
            if is_message and len(message.split()) >= _WORDS:
                yield f"message: {message}"


def main(arguments: list[str]) -> int:
    """Print the chosen texts and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.sample_text", description=__doc__)
    parser.add_argument(
        "--seed", type=int, required=True, help="random seed; the same seed chooses the same texts"
    )
    parser.add_argument("--count", type=int, default=20, help="number of texts (default 20)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to choose from")
    args = parser.parse_args(arguments)
    listed = subprocess.run(
        ["git", "ls-files", "*.py"],  # noqa: S607
        cwd=args.root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    found = [
        f"{file}: {text}"
        for file in sorted(listed)
        for text in texts(ast.parse((args.root / file).read_text("utf-8")), file)
    ]
    for line in random.Random(args.seed).sample(found, args.count):  # noqa: S311 - no secret
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
