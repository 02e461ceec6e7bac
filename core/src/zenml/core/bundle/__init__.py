"""The code bundle: the user's repository as one object in the artifact store, named by content."""

from zenml.core.bundle._bundle import Bundle, archive_key, store_bundle
from zenml.core.bundle._collect import BundleRules, collect, left_out
from zenml.core.bundle._manifest import BundleFile, BundleManifest
from zenml.core.bundle._unpack import unpack
from zenml.core.bundle._walk import LeftOut
from zenml.core.bundle.environment import (
    Mismatch,
    check_environment,
    mismatch_report,
    refuse_mismatches,
    required_distributions,
)

__all__ = [
    "Bundle",
    "BundleFile",
    "BundleManifest",
    "BundleRules",
    "LeftOut",
    "Mismatch",
    "archive_key",
    "check_environment",
    "collect",
    "left_out",
    "mismatch_report",
    "refuse_mismatches",
    "required_distributions",
    "store_bundle",
    "unpack",
]
