"""What an administrator is asked to allow."""

from __future__ import annotations

from typing import Any

import yaml

from zenml.k8s import OrchestratorKubernetesBackend


def role_of(**options: Any) -> tuple[Any, Any]:
    role, binding = yaml.safe_load_all(OrchestratorKubernetesBackend(**options).permissions())
    return role, binding


def test_it_is_a_role_in_the_namespace_and_no_more() -> None:
    role, binding = role_of(namespace="ml")
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "ml")
    allowed = {
        (r, verb) for rule in role["rules"] for r in rule["resources"] for verb in rule["verbs"]
    }
    assert not any("*" in pair or "secrets" in pair or "update" in pair for pair in allowed)
    assert ("jobs", "create") in allowed
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "User", "name": "REPLACE-ME", "apiGroup": "rbac.authorization.k8s.io"}
    ]


def test_a_service_account_has_a_binding_of_its_own() -> None:
    role, binding = role_of(namespace="ml", service_account="driver")
    assert binding["metadata"]["name"] == "zenml-driver"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "driver", "namespace": "ml"}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "zenml"
