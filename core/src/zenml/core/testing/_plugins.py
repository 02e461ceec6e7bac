"""Installed plugins in tests: what pip would have put in a folder, without pip."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from zenml.core.plugins._registry import reset_registry

__all__ = ["fake_distribution", "importing_from"]


def fake_distribution(
    folder: Path,
    name: str,
    *,
    version: str = "1.0",
    entry_points: Mapping[str, str] | None = None,
    modules: Mapping[str, str] | None = None,
) -> Path:
    """Put a distribution into ``folder`` as an installer would have left it.

    Args:
        folder: What stands for ``site-packages``; made if need be.
        name: The distribution's name.
        version: Its version.
        entry_points: Of the group ``zenml.plugins``: name to module.
        modules: Dotted module name to source text, which may be indented as a whole. A name that
            others begin with becomes a package.

    Returns:
        The folder of its metadata.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = [f"{label} = {module}\n" for label, module in (entry_points or {}).items()]
    text = "".join(["[zenml.plugins]\n", *lines])
    (info / "entry_points.txt").write_text(text, encoding="utf-8")
    modules = modules or {}
    for module, source in modules.items():
        path = folder.joinpath(*module.split("."))
        is_package = any(other.startswith(f"{module}.") for other in modules)
        path = path / "__init__.py" if is_package else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
    reset_registry()
    return info


@contextlib.contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Have ``folder`` on the path, as if it were installed; afterwards all is as it was before.

    The registry is read anew inside the block, and again after it.
    """
    path, entries, modules = sys.path, sys.path[:], set(sys.modules)
    sys.path.insert(0, str(folder))
    reset_registry()
    try:
        yield
    finally:
        # A test may have put another list in its place.
        sys.path = path
        sys.path[:] = entries
        for name in sys.modules.keys() - modules:
            module = sys.modules[name]
            places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
            if any(str(place).startswith(f"{folder}{os.sep}") for place in places):
                del sys.modules[name]
        importlib.invalidate_caches()
        reset_registry()
