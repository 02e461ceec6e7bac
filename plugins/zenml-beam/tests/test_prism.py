"""What every processing backend has to do, on Prism, whose program not every machine can build."""

from __future__ import annotations

import pytest

from zenml.beam import ProcessingBeamBackend
from zenml.core.testing import ProcessingConformance


class TestPrism(ProcessingConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls):
        # Each map imports Beam, which takes a busy machine half a minute; some try three times.
        return 300.0

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, request):
        if not request.config.getoption("full_prism", False):
            pytest.skip("--full-prism runs the suite on Prism, too: some ten minutes")
        prism = request.getfixturevalue("prism")
        return ProcessingBeamBackend(runner="PrismRunner", options={"prism_location": prism})
