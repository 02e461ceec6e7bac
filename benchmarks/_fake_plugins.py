"""Installed plugins that are not: real metadata folders and light modules, as pip leaves them."""

from __future__ import annotations

import compileall
from pathlib import Path

#: One plugin in as many cannot be imported, in folders made with ``broken=True``.
BROKEN_SHARE = 10

_PLUGIN = '''"""Registers the backend of fake-{number}."""

from zenml.core.plugins import BackendSpec, hookimpl


@hookimpl
def zenml_processors():
    yield BackendSpec(
        type="fake-{number}",
        target="fake_{number}.backend:FakeBackend",
        summary="Stands for the backend of an installed plugin.",
        api=1,
    )
'''
#: Listing must not come here; if it does, the plugin becomes a row that is not available.
_BACKEND = 'raise RuntimeError("enumerating imported a backend")\n'
_BROKEN = "import a_module_that_nobody_has\n"

#: Long enough for the cost of parsing it to be seen: a usual README is part of the metadata.
_METADATA = (
    """Metadata-Version: 2.4
Name: fake-{number}
Version: 1.{number}
Summary: Stands for an installed plugin.
Author-email: Nobody <nobody@example.com>
License-Expression: Apache-2.0
Classifier: Programming Language :: Python :: 3
Requires-Python: >=3.10
Requires-Dist: zenml-core
Requires-Dist: requests>=2
Description-Content-Type: text/markdown

# fake-{number}

"""
    + 40 * "A line of the description that most distributions carry in their metadata.\n"
)
_WHEEL = "Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_plugins(folder: Path, count: int, *, broken: bool = False) -> Path:
    """Fill ``folder`` with ``count`` plugins, compiled as an installer would; returns the folder.

    Put on the path, it is read like a ``site-packages`` that holds nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        plugin = _BROKEN if broken and number % BROKEN_SHARE == 0 else _PLUGIN
        files = {
            f"fake_{number}/__init__.py": "",
            f"fake_{number}/backend.py": _BACKEND,
            f"fake_{number}/plugin.py": plugin.format(number=number),
        }
        about = f"fake_{number}-1.{number}.dist-info"
        files |= {
            f"{about}/INSTALLER": "pip\n",
            f"{about}/METADATA": _METADATA.format(number=number),
            f"{about}/WHEEL": _WHEEL,
            f"{about}/entry_points.txt": (
                f"[zenml.plugins]\nfake-{number} = fake_{number}.plugin\n"
            ),
        }
        files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    compileall.compile_dir(folder, quiet=1)
    return folder
