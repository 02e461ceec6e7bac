"""Who may do what: the least that a backend needs, for clusters that grant no more."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from zenml.k8s._options import KubernetesOptions

__all__ = ["RULES", "Rule", "role"]


class Rule(NamedTuple):
    """Some verbs on some objects, and what for.

    Attributes:
        group: API group; empty for the core.
        resource: Kind of object.
        verbs: What is done to it.
        reason: What for.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    reason: str


RULES: Final = (
    Rule(
        "batch", "jobs", ("create", "get", "list", "watch", "delete"), "start, follow and end Jobs"
    ),
    Rule(
        "", "pods", ("get", "list", "watch", "delete"), "see why a Job does not run; end it in time"
    ),
    Rule("", "pods/log", ("get",), "show what a pod printed before it reached the store"),
    Rule("", "events", ("list",), "see why a Job has no pod"),
)


def role(options: KubernetesOptions) -> str:
    """A Role and its binding, as YAML. Who it is bound to is for the administrator to say."""
    namespace = options.namespace or "default"
    metadata = {"name": "zenml", "namespace": namespace}
    subject: dict[str, Any] = {"kind": "User", "name": "REPLACE-ME", "apiGroup": _RBAC}
    bound = metadata
    if options.service_account is not None:
        bound = {**metadata, "name": f"zenml-{options.service_account}"}
        subject = {
            "kind": "ServiceAccount",
            "name": options.service_account,
            "namespace": namespace,
        }
    lines = [
        f"apiVersion: {_RBAC}/v1",
        "kind: Role",
        f"metadata: {_flow(metadata)}",
        "rules:",
    ]
    for rule in RULES:
        lines += [
            f"# {rule.reason}",
            f"- apiGroups: {_flow([rule.group])}",
            f"  resources: {_flow([rule.resource])}",
            f"  verbs: {_flow(list(rule.verbs))}",
        ]
    lines += [
        "---",
        f"apiVersion: {_RBAC}/v1",
        "kind: RoleBinding",
        f"metadata: {_flow(bound)}",
        f"roleRef: {_flow({'apiGroup': _RBAC, 'kind': 'Role', 'name': 'zenml'})}",
        "subjects:",
        f"- {_flow(subject)}",
    ]
    return "\n".join(lines) + "\n"


_RBAC: Final = "rbac.authorization.k8s.io"


def _flow(value: Any) -> str:
    """As YAML on one line, which JSON is."""
    return json.dumps(value)
