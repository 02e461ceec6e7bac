"""Plugins that are sound but for one defect each, in what backends of every kind have to do."""

from __future__ import annotations

import importlib
import textwrap
from typing import ClassVar

import pytest
from proofs import Proof, suites_of

from zenml.core.testing import (
    ProcessingConformance,
    case_names,
    fake_distribution,
    importing_from,
)
from zenml.core.testing._backends import BackendConformance


class Sound:
    """What the others are made of: a light module, and a backend in another."""

    light: ClassVar[str] = """
        from zenml.core.plugins import BackendSpec, hookimpl

        @hookimpl
        def zenml_processors():
            yield BackendSpec(type="acme", target="acme_backend:AcmeBackend", summary="Acme's.")
        """
    backend: ClassVar[str] = """
        from zenml.core import ProcessingBackend, execute_unit

        class AcmeBackend(ProcessingBackend):
            workers: int = 1

            def map(self, units, context):
                for index, unit in enumerate(units):
                    yield index, execute_unit(unit, context)
        """
    #: Methods of the backend.
    methods: ClassVar[str] = ""


class Base(ProcessingConformance):
    make: ClassVar[type[Sound]] = Sound

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("installed")
        methods = textwrap.indent(textwrap.dedent(cls.make.methods), "    ")
        modules = {
            "acme_plugin": textwrap.dedent(cls.make.light),
            "acme_backend": textwrap.dedent(cls.make.backend) + methods,
        }
        fake_distribution(
            folder, "acme-zenml", entry_points={"acme": "acme_plugin"}, modules=modules
        )
        with importing_from(folder), pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(folder))
            yield importlib.import_module("acme_backend").AcmeBackend(workers=2)


class OffersNothing(Sound):
    """Its light module offers nothing."""

    light = ""


class NeedsMore(Sound):
    """Says that it needs what its distribution does not bring along."""

    light = Sound.light.replace("summary=", 'requires=("no_such_library",), summary=')


class ImportsItsBackend(Sound):
    """Its light module imports the backend."""

    light = f"import acme_backend\n{textwrap.dedent(Sound.light)}"


class ForgetsAParameter(Sound):
    """Leaves a parameter out of what a plan records."""

    methods = """
        def parameters(self):
            return {}
        """


class TakesAnything(Sound):
    """Ignores parameters that it does not have."""

    methods = """
        def __init__(self, workers=1, **ignored):
            super().__init__(workers=workers)
        """


class CanBeChanged(Sound):
    """Lets its parameters be set."""

    methods = """
        def __setattr__(self, name, value):
            self.__dict__[name] = value
        """


class RaisesInCheck(Sound):
    """Raises when it finds that the service cannot be reached."""

    methods = """
        def check(self):
            raise ConnectionError("nobody answers")
        """


BASE = Base
CASES = case_names(BackendConformance)
TABLE = [
    Proof("test_it_is_listed_as_available", OffersNothing, "no plugin registers AcmeBackend"),
    Proof("test_it_is_listed_as_available", NeedsMore, "listed as missing-dependency"),
    Proof("test_listing_imports_nothing_of_it", ImportsItsBackend, "imported acme_backend"),
    Proof("test_it_comes_back_from_plain_data", ForgetsAParameter, "'workers' came back as 1"),
    Proof("test_a_wrong_parameter_is_named", TakesAnything, "DID NOT RAISE"),
    Proof("test_it_cannot_be_changed", CanBeChanged, "DID NOT RAISE"),
    Proof("test_its_check_reports_and_does_not_raise", RaisesInCheck, "nobody answers"),
]
SUITES = suites_of(BASE, TABLE)
globals().update(SUITES)
