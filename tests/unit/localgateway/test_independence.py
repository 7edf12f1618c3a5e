"""The gateway knows AWS and nothing of the application that it runs."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "localgateway"
OTHERS = {"app", "bench", "chalicelib", "devstack", "tests"}


def test_the_package_imports_nothing_of_ours() -> None:
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & OTHERS, file.name
