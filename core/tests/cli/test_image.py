"""``zenml image build``: what goes into a build context, and what a builder is asked."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from zenml.core.testing import Project, fake_distribution

CORE = metadata.version("zenml-core")

#: Builds wheels of ``base`` and ``acme`` without a network.
BUILD_BACKEND = """
import zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{{wheel_directory}}/{{name}}", "w") as file:
        info = "{name}-1.0.dist-info"
        file.writestr("{name}_module.py", "")
        about = "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n"
        file.writestr(f"{{info}}/METADATA", about)
        file.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        file.writestr(f"{{info}}/RECORD", "")
    return name
"""

PYPROJECT = """
[build-system]
requires = []
build-backend = "build_backend"
backend-path = ["."]

[project]
name = "{name}"
version = "1.0"
"""

PLUGIN = """
from zenml.core.plugins import hookimpl

@hookimpl
def zenml_orchestrators():
    return []
"""

STORE = """
from zenml.core.plugins import StoreSpec, hookimpl
from zenml.core.stores._local import LocalArtifactStore

class Bucket(LocalArtifactStore):
    scheme = "acme"

    def __init__(self, url):
        super().__init__(url.replace("acme://", "/"))

@hookimpl
def zenml_artifact_stores():
    yield StoreSpec(scheme="acme", target="acme_module:Bucket", summary="Keeps things.")
"""

#: A program that writes down how it was asked, and then says and does what its user wants.
BUILDER = """#!/bin/sh
printf '%s\\n' "$0" "$@" > "$ASKED"
for last; do :; done
ls -R "$last" > "$ASKED.context"
echo "a builder says something"
echo "and this last" >&2
exit ${EXIT:-0}
"""

PLAN = """
import click
from zenml.core import OrchestratorBackend, ProcessingBackend
from zenml.pipelines import Pipeline, step

class Here(OrchestratorBackend):
    def run(self, work): ...

class Elsewhere(ProcessingBackend):
    def map(self, units, context): ...

@step
def scale(value: int) -> int:
    return click.INT.convert(2 * value, None, None)

if __name__ == "__main__":
    pipeline = Pipeline("needs", backends=[Here(), Elsewhere()])
    pipeline.add_step(scale(value=1))
    pipeline.run()
"""


class Machine(Project):
    """A project, what is installed beside it, and what builds images there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "project")
        self.site = folder / "site"
        self.programs = folder / "programs"
        self.asked = folder / "asked"
        self.contexts = folder / "contexts"
        self.wheels = folder / "some wheels"
        for made in (self.site, self.programs, self.contexts, self.wheels):
            made.mkdir()
        self.wheel("zenml_core", CORE)

    def install(
        self, name: str, *, origin: Any = None, needs: tuple[str, ...] = (), plugin: str = PLUGIN
    ) -> None:
        """Put a plugin in place; from an index, unless its origin is given."""
        module = f"{name}_module"
        info = fake_distribution(
            self.site, name, entry_points={name: module}, modules={module: plugin}
        )
        with (info / "METADATA").open("a") as file:
            file.writelines(f"Requires-Dist: {need}\n" for need in needs)
        record = f"{module}.py,,\n{info.name}/METADATA,,\n"
        (info / "RECORD").write_text(record)
        if origin is not None:
            (info / "direct_url.json").write_text(json.dumps(origin))

    def source(self, name: str) -> Path:
        """A folder that wheels are built from."""
        made = self.folder.parent / f"source of {name}"
        made.mkdir()
        (made / "pyproject.toml").write_text(PYPROJECT.format(name=name))
        (made / "build_backend.py").write_text(BUILD_BACKEND.format(name=name))
        return made

    def wheel(self, name: str, version: str = "1.0", tag: str = "py3-none-any") -> Path:
        file = self.wheels / f"{name}-{version}-{tag}.whl"
        file.write_bytes(b"a wheel")
        return file

    def builder(self, *names: str) -> None:
        for name in names:
            file = self.programs / name
            file.write_text(BUILDER)
            file.chmod(0o755)

    def build(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """``zenml image build``, where no builder is installed but those of the test."""
        return self.run(
            *("-m", "_zenml_main", "image", "build", *arguments),
            variables={
                "PYTHONPATH": str(self.site),
                "PATH": os.pathsep.join([str(self.programs), "/usr/bin/no-builder"]),
                "TMPDIR": str(self.contexts),
                "ZENML_ALLOW_PLUGINS": "zenml-core,acme,base",
                "ASKED": str(self.asked),
                **variables,
            },
        )

    def print(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same with ``--print`` and our wheels, which succeeds."""
        done = self.build("--print", "--wheels", str(self.wheels), *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done

    @property
    def context(self) -> Path:
        """The context that was kept."""
        [kept] = self.contexts.iterdir()
        return kept

    def requirements(self) -> list[str]:
        return (self.context / "requirements.txt").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


OURS = f"zenml-core @ file:///context/wheels/zenml_core-{CORE}-py3-none-any.whl"


def wrong(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert "\nTraceback" not in done.stderr
    return done.stderr


class TestTheContext:
    def test_holds_the_dockerfile_the_requirements_and_the_wheels_and_nothing_else(
        self, machine: Machine
    ) -> None:
        (machine.wheels / "notes.txt").write_text("not for others")
        (machine.folder / "train.py").write_text("")
        machine.print()

        found = {
            str(path.relative_to(machine.context))
            for path in machine.context.rglob("*")
            if path.is_file()
        }
        wheel = f"wheels/zenml_core-{CORE}-py3-none-any.whl"
        assert found == {"Dockerfile", "requirements.txt", wheel}
        assert machine.requirements() == [OURS]

    def test_pins_what_an_index_has_and_names_the_files_of_what_it_has_not(
        self, machine: Machine
    ) -> None:
        machine.install("acme")
        machine.install("base")
        machine.wheel("base")

        machine.print()

        base = "base @ file:///context/wheels/base-1.0-py3-none-any.whl"
        assert machine.requirements() == ["acme==1.0", base, OURS]

    def test_leaves_the_choice_among_wheels_of_several_machines_to_pip(
        self, machine: Machine
    ) -> None:
        machine.install("acme")
        machine.wheel("acme", tag="cp311-cp311-linux_x86_64")
        machine.wheel("acme", tag="cp311-cp311-linux_aarch64")

        machine.print()

        assert machine.requirements() == ["acme==1.0", OURS]

    def test_holds_no_plugin_that_is_switched_off(self, machine: Machine) -> None:
        machine.install("acme")

        machine.print(ZENML_DISABLE_PLUGINS="acme")

        assert machine.requirements() == [OURS]

    def test_has_what_else_is_asked_for_at_the_end(self, machine: Machine) -> None:
        (machine.folder / "more.txt").write_text(
            "# for training\n\nscikit-learn>=1.5  # or later\nzenml-steps[sklearn]\n"
        )

        machine.print("-r", "polars>=2", "--requirement", "duckdb", "--requirements", "more.txt")

        assert machine.requirements() == [
            OURS,
            "polars>=2",
            "duckdb",
            "scikit-learn>=1.5",
            "zenml-steps[sklearn]",
        ]

    def test_of_a_plan_has_what_the_plan_needs_in_its_versions(self, machine: Machine) -> None:
        machine.install("acme")
        (machine.folder / "train.py").write_text(PLAN)

        machine.print("--plan", "train.py")

        assert machine.requirements() == [f"click=={metadata.version('click')}", OURS]

    def test_of_a_plan_has_what_its_store_is_opened_with(self, machine: Machine) -> None:
        machine.install("acme", plugin=STORE)
        (machine.folder / ".zenml" / "config.yaml").write_text(
            "version: 1\nartifact_store: acme://bucket/place\n"
        )
        (machine.folder / "train.py").write_text(PLAN)

        machine.print("--plan", "train.py")

        click = f"click=={metadata.version('click')}"
        assert machine.requirements() == ["acme==1.0", click, OURS]


class TestWhatNoIndexHas:
    @pytest.fixture
    def installer(self, machine: Machine) -> None:
        """What builds wheels: pip of this environment, or else uv."""
        uv = shutil.which("uv")
        if uv:
            (machine.programs / "uv").symlink_to(uv)
        elif importlib.util.find_spec("pip") is None:
            pytest.skip("neither pip nor uv is here to build a wheel")

    @pytest.mark.usefixtures("installer")
    @pytest.mark.parametrize("editable", [True, False])
    def test_is_built_from_where_it_was_installed_from(
        self, machine: Machine, editable: bool
    ) -> None:
        folder = machine.source("acme").as_uri()
        machine.install("acme", origin={"url": folder, "dir_info": {"editable": editable}})

        machine.print()

        assert (
            machine.requirements()[0] == "acme @ file:///context/wheels/acme-1.0-py3-none-any.whl"
        )
        assert sorted(path.name for path in (machine.context / "wheels").iterdir()) == [
            "acme-1.0-py3-none-any.whl",
            f"zenml_core-{CORE}-py3-none-any.whl",
        ]

    @pytest.mark.usefixtures("installer")
    def test_is_there_too_where_another_needs_it(self, machine: Machine) -> None:
        origin = {"url": machine.source("base").as_uri(), "dir_info": {"editable": True}}
        machine.install("base", origin=origin)
        machine.install("acme", needs=("Base>=0.9; python_version > '3'", "other"))

        machine.print(ZENML_ALLOW_PLUGINS="zenml-core,acme")

        base = "base @ file:///context/wheels/base-1.0-py3-none-any.whl"
        assert machine.requirements() == ["acme==1.0", base, OURS]

    def test_is_copied_if_it_was_a_wheel(self, machine: Machine, tmp_path: Path) -> None:
        wheel = tmp_path / "acme-1.0-py3-none-any.whl"
        wheel.write_bytes(b"acme's")
        machine.install("acme", origin={"url": wheel.as_uri(), "archive_info": {}})

        machine.print()

        assert (machine.context / "wheels" / wheel.name).read_bytes() == b"acme's"

    def test_is_taken_from_the_wheels_that_are_given_before_it_is_built(
        self, machine: Machine
    ) -> None:
        gone = {"url": "file:///nowhere/at/all", "dir_info": {"editable": True}}
        machine.install("acme", origin=gone)
        machine.wheel("acme")

        machine.print()

        assert (machine.context / "wheels" / "acme-1.0-py3-none-any.whl").exists()

    def test_is_fetched_from_the_address_that_it_came_from(self, machine: Machine) -> None:
        url = "https://example.invalid/acme-1.0-py3-none-any.whl"
        machine.install("acme", origin={"url": url, "archive_info": {}})

        machine.print()

        assert machine.requirements()[0] == f"acme @ {url}"

    @pytest.mark.usefixtures("installer")
    def test_is_named_if_it_cannot_be_had_and_no_context_is_left(self, machine: Machine) -> None:
        broken = machine.source("base")
        (broken / "build_backend.py").write_text("raise RuntimeError('no compiler')")
        machine.install("acme", origin={"url": "file:///nowhere", "dir_info": {}})
        machine.install("base", origin={"url": broken.as_uri(), "dir_info": {}})

        error = wrong(machine.build("--print", "--wheels", str(machine.wheels)))

        assert "acme: was installed from /nowhere, which is not there any more" in error
        assert f"base: cannot be built from {broken}" in error
        assert "RuntimeError: no compiler" in error
        assert "--wheels" in error
        assert list(machine.contexts.iterdir()) == []


class TestWhatIsRefused:
    def test_is_told_at_once_and_no_password_is_repeated(self, machine: Machine) -> None:
        (machine.folder / "more.txt").write_text("polars\n-e ./here\n--find-links https://x/\n")

        error = wrong(
            machine.build(
                *("-r", "acme @ https://me:hunter2@example.invalid/acme.whl", "-r", "./acme.whl"),
                *("--requirements", "more.txt", "--print"),
            )
        )

        assert "4 problems" in error
        assert "hunter2" not in error
        assert "--requirement: './acme.whl' is on this machine" in error
        assert "more.txt, line 2: expected one requirement" in error
        assert "more.txt, line 3: expected one requirement" in error

    def test_a_folder_without_wheels(self, machine: Machine, tmp_path: Path) -> None:
        assert "there is no wheel in" in wrong(machine.build("--wheels", str(tmp_path), "--print"))

    def test_a_secret_for_a_builder_that_has_none(self, machine: Machine) -> None:
        (machine.folder / "pip.conf").write_text("[global]\n")

        error = wrong(machine.build("--builder", "kaniko", "--pip-config", "pip.conf", "--print"))

        assert "/run/secrets/pip.conf" in error


class TestPrinting:
    def test_gives_the_dockerfile_and_the_command_and_keeps_the_context(
        self, machine: Machine
    ) -> None:
        machine.builder("docker")

        done = machine.print("--tag", "mine:1", "--base", "python:3.13-slim")

        assert done.stdout == (machine.context / "Dockerfile").read_text()
        command = f"docker build --tag mine:1 --build-arg BASE=python:3.13-slim {machine.context}"
        assert command in done.stderr
        assert not machine.asked.exists()

    def test_is_all_that_can_be_done_where_nothing_builds_images(self, machine: Machine) -> None:
        done = machine.build("--wheels", str(machine.wheels))

        assert done.returncode == 1
        assert done.stdout == (machine.context / "Dockerfile").read_text()
        assert f"docker build --tag zenml-runtime:{CORE} {machine.context}" in done.stderr
        assert "nothing that builds images is on PATH" in done.stderr

    def test_tells_how_kaniko_is_asked(self, machine: Machine) -> None:
        done = machine.print("--builder", "kaniko", "--tag", "example.invalid/mine:1")

        to = "--destination example.invalid/mine:1"
        assert f"/kaniko/executor --context dir://{machine.context} {to}" in done.stderr


class TestBuilding:
    def test_asks_the_first_builder_that_is_there_and_removes_the_context(
        self, machine: Machine
    ) -> None:
        machine.builder("podman", "nerdctl")

        done = machine.build("--wheels", str(machine.wheels), PATH=f"{machine.programs}:/bin")

        assert done.returncode == 0, done.stderr
        assert done.stdout == f"built zenml-runtime:{CORE} with podman\n"
        assert "a builder says something" in done.stderr
        program, *words, context = machine.asked.read_text().splitlines()
        assert Path(program).name == "podman"
        assert words == ["build", "--tag", f"zenml-runtime:{CORE}"]
        assert "requirements.txt" in Path(f"{machine.asked}.context").read_text()
        assert not Path(context).exists()
        assert list(machine.contexts.iterdir()) == []

    def test_hands_on_arguments_secrets_and_the_builders_own_options(
        self, machine: Machine
    ) -> None:
        machine.builder("buildah", "docker")
        (machine.folder / "pip.conf").write_text("[global]\nfind-links = https://me:hunter2@x/\n")

        done = machine.build(
            *("--wheels", str(machine.wheels), "--builder", "buildah", "--no-index"),
            *("--pip-config", "pip.conf", "--", "--network", "host"),
            PATH=f"{machine.programs}:/bin",
        )

        assert done.returncode == 0, done.stderr
        _, *words, _ = machine.asked.read_text().splitlines()
        assert words == [
            *("build", "--tag", f"zenml-runtime:{CORE}", "--build-arg", "PIP_NO_INDEX=1"),
            *("--secret", f"id=pip.conf,src={machine.folder / 'pip.conf'}", "--network", "host"),
        ]
        assert "pip.conf" not in Path(f"{machine.asked}.context").read_text()
        assert "hunter2" not in done.stdout + done.stderr

    def test_that_fails_is_one_error_with_the_last_lines(self, machine: Machine) -> None:
        machine.builder("docker", "podman")

        done = machine.build(
            "--wheels", str(machine.wheels), PATH=f"{machine.programs}:/bin", EXIT="3"
        )

        error = wrong(done)[done.stderr.index("error: ") :]
        assert error.startswith("error: docker failed with exit code 3:")
        assert "\n    and this last\n" in error
        assert "--builder podman" in error
        assert list(machine.contexts.iterdir()) == []


class TestTheNameOfTheImage:
    def test_is_that_of_the_installed_version(self) -> None:
        from zenml.core.image import DEFAULT_IMAGE

        assert f"zenml-runtime:{CORE}" == DEFAULT_IMAGE

    def test_costs_nothing_until_it_is_asked_for(self) -> None:
        code = "import sys, zenml.core.image; print('importlib.metadata' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout == "False\n"

    def test_is_all_that_the_module_offers(self) -> None:
        import zenml.core.image

        with pytest.raises(AttributeError, match="DEFAULT_IMAGES"):
            _ = zenml.core.image.DEFAULT_IMAGES  # type: ignore[attr-defined]
