"""Importing the user's app, and importing it again when a source file changed."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = Path(__file__).parent


class Source:
    """An app named ``module:attribute`` (``app:app``), found from a project directory."""

    def __init__(self, name: str, project: Path) -> None:
        module, _, attribute = name.partition(":")
        self._module, self._attribute = module, attribute or "app"
        self._project = project.resolve()
        self._seen: dict[Path, int] = {}

    def load(self) -> Any:
        """Import the app afresh: no module of the project survives from an earlier load.

        It is what a new Lambda execution environment does; objects of the old one live on only
        as long as their handlers run. Whatever the import raises is raised.
        """
        if str(self._project) not in sys.path:
            sys.path.insert(0, str(self._project))
        self._seen = self._times()
        for name, _ in self._modules():
            del sys.modules[name]
        importlib.invalidate_caches()
        return getattr(importlib.import_module(self._module), self._attribute)

    def changed(self) -> bool:
        """Tell whether a source file of the project changed, came or went since the last load."""
        return self._times() != self._seen

    def _modules(self) -> list[tuple[str, ModuleType]]:
        loaded = list(sys.modules.items())
        return [
            (name, module)
            for name, module in loaded
            if (file := getattr(module, "__file__", None)) and self._owns(Path(file))
        ]

    def _owns(self, file: Path) -> bool:
        """Tell the user's files from installed ones and from the gateway's own."""
        if not file.is_relative_to(self._project) or file.is_relative_to(_OURS):
            return False
        return not any(
            part == "site-packages" or part.startswith(".")
            for part in file.relative_to(self._project).parts
        )

    def _times(self) -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in self._files(self._project)}

    def _files(self, folder: Path) -> Iterator[Path]:
        for entry in folder.iterdir():
            if entry.is_dir():
                if not entry.name.startswith(".") and entry.name not in _NO_SOURCES:
                    yield from self._files(entry)
            elif entry.suffix == ".py" and entry.exists():
                yield entry


_NO_SOURCES = {"__pycache__", "node_modules", "site-packages"}
