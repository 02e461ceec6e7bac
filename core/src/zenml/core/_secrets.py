"""Finds secrets that would be written down: they travel by reference only."""

from __future__ import annotations

import re
from typing import Any

from zenml.core.contracts._settings import SecretRef, sounds_secret
from zenml.core.errors import Problem

__all__ = ["literal_secrets"]

_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def literal_secrets(value: Any, path: str) -> list[Problem]:
    """Every secret that would be written down with these parameters, however deep inside."""
    if isinstance(value, dict):
        inside = [(f"{path}.{name}" if path else str(name), item) for name, item in value.items()]
        return [found for place, item in inside for found in literal_secrets(item, place)]
    if isinstance(value, list):
        inside = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        return [found for place, item in inside for found in literal_secrets(item, place)]
    if not isinstance(value, str) or not value or SecretRef.is_reference(value):
        return []
    name = re.sub(r"\[\d+\]", "", path).rpartition(".")[2]
    if not sounds_secret(name) and not _PASSWORD_IN_URL.search(value):
        return []
    return [
        Problem(
            path,
            "looks like a secret, and would be written down as it is",
            "declare the parameter as SecretRef, and give it 'env:NAME' or 'file:PATH'",
        )
    ]
