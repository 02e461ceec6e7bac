"""Whether a cluster could be used now: one line for each thing that goes wrong on the first day."""

from __future__ import annotations

from typing import Any

from zenml.core import Check
from zenml.core.errors import BackendError
from zenml.core.image import DEFAULT_IMAGE
from zenml.k8s._api import Api, ApiError, connect
from zenml.k8s._options import KubernetesOptions
from zenml.k8s._rights import RULES

__all__ = ["check"]

#: The first version whose Jobs have all that a manifest of ours asks for.
_OLDEST = (1, 29)


def check(options: KubernetesOptions) -> list[Check]:
    """See ``Backend.check``. What cannot be looked at after a failure is left out."""
    try:
        api = connect(options)
    except BackendError as error:
        return [Check("configuration", False, error.message, error.remedy)]
    namespace = options.namespace or api.namespace
    found = [Check("configuration", True, f"{api.host}, namespace '{namespace}'")]
    try:
        found.append(_server(api))
        found.append(_namespace(api, namespace))
        rights = _rights(api, namespace)
        found += rights
        if all(line.ok for line in rights):
            found += _objects(api, options, namespace)
        found += _quotas(api, namespace)
        found.append(_image(api, options))
    except ConnectionError as error:
        hint = "'kubectl cluster-info' should reach it too; a VPN or a proxy may be missing"
        found.append(Check("reachable", False, str(error), hint))
    except ApiError as error:
        remedy = "log in again: 'kubectl get jobs' should work" if error.status == 401 else None
        found.append(Check("credentials", False, error.message, remedy))
    return found


def _server(api: Api) -> Check:
    told = api.get("/version")
    version = str(told.get("gitVersion"))
    numbers = tuple(
        int("".join(filter(str.isdigit, told[part])) or 0) for part in ("major", "minor")
    )
    oldest = ".".join(map(str, _OLDEST))
    remedy = None if numbers >= _OLDEST else f"use a cluster of version {oldest} or later"
    return Check("server version", numbers >= _OLDEST, version, remedy)


def _namespace(api: Api, namespace: str) -> Check:
    try:
        there = api.find(f"/api/v1/namespaces/{namespace}") is not None
    except ApiError as error:
        if error.status != 403:
            raise
        return Check("namespace", True, f"'{namespace}', which may not be looked at")
    remedy = None if there else f"kubectl create namespace {namespace}"
    return Check("namespace", there, f"'{namespace}'" + ("" if there else " is not there"), remedy)


def _rights(api: Api, namespace: str) -> list[Check]:
    lines = []
    for rule in RULES:
        resource, _, part = rule.resource.partition("/")
        missing = []
        for verb in rule.verbs:
            attributes = {
                "namespace": namespace,
                "verb": verb,
                "group": rule.group,
                "resource": resource,
            }
            if part:
                attributes["subresource"] = part
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            told = api.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            if not told.get("status", {}).get("allowed"):
                missing.append(verb)
        said = f"not allowed: {', '.join(missing)}" if missing else ", ".join(rule.verbs)
        remedy = "'zenml backend permissions' prints the Role that is needed" if missing else None
        lines.append(Check(f"may {rule.reason} ({rule.resource})", not missing, said, remedy))
    return lines


def _objects(api: Api, options: KubernetesOptions, namespace: str) -> list[Check]:
    """Whether what the parameters name is there, as far as we may see it."""
    wanted = {("persistentvolumeclaims", v.claim) for v in options.volumes if v.claim}
    wanted |= {("configmaps", v.config_map) for v in options.volumes if v.config_map}
    wanted |= {("secrets", v.secret_name) for v in options.volumes if v.secret_name}
    wanted |= {("secrets", entry.name) for entry in options.environment_from_secrets.values()}
    wanted |= {("secrets", name) for name in options.image_pull_secret_names}
    if options.service_account is not None:
        wanted.add(("serviceaccounts", options.service_account))
    lines = []
    for resource, name in sorted(wanted):
        try:
            there = api.find(f"/api/v1/namespaces/{namespace}/{resource}/{name}") is not None
        except ApiError as error:
            if error.status != 403:
                raise
            continue  # least privilege: not ours to see
        said = f"'{name}'" + ("" if there else f" is not in the namespace '{namespace}'")
        remedy = None if there else f"make it, or name another: kubectl get {resource}"
        lines.append(Check(resource, there, said, remedy))
    return lines


def _quotas(api: Api, namespace: str) -> list[Check]:
    try:
        quotas = list(api.list(f"/api/v1/namespaces/{namespace}/resourcequotas"))
    except ApiError as error:
        if error.status != 403:
            raise
        return []
    lines = []
    for quota in quotas:
        status: dict[str, Any] = quota.get("status") or {}
        used, hard = status.get("used") or {}, status.get("hard") or {}
        full = [name for name in hard if used.get(name) == hard[name] and hard[name] != "0"]
        said = ", ".join(f"{name} {used.get(name, '0')} of {hard[name]}" for name in sorted(hard))
        remedy = f"{', '.join(full)} used up: wait, or have it raised" if full else None
        lines.append(Check(f"quota '{quota['metadata']['name']}'", not full, said, remedy))
    return lines


def _image(api: Api, options: KubernetesOptions) -> Check:
    """Whether a node has the image: all that can be known without pulling it."""
    image = options.image or DEFAULT_IMAGE
    try:
        nodes = list(api.list("/api/v1/nodes"))
    except ApiError as error:
        if error.status != 403:
            raise
        return Check(
            "image", True, f"'{image}' is pulled when a Job needs it; nodes may not be seen"
        )
    names = {
        name.removeprefix("docker.io/").removeprefix("library/").removeprefix("localhost/")
        for node in nodes
        for found in (node.get("status") or {}).get("images") or ()
        for name in found.get("names") or ()
    }
    if image.removeprefix("localhost/") in names:
        return Check("image", True, f"'{image}' is on a node")
    if options.image_pull_policy == "Never":
        said = "no node has told that it has it, which takes a node some minutes, and none pulls it"
    else:
        said = "is pulled when a Job needs it"
    return Check("image", True, f"'{image}': {said}")
