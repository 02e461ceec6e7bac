"""What all three backends can be told: where the cluster is, and what its pods are like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from zenml.core import Check, Settings
from zenml.core.errors import Problem

__all__ = ["DNS_LABEL", "KubernetesOptions", "SecretKey", "Volume"]

#: A name that Kubernetes takes for nearly anything, and a safe value of a label.
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?")
_PREFIX = re.compile(r"[a-z]([-a-z0-9]{0,28})")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: Labels that say whose a Job is: how it is found again.
_OURS = ("zenml.io/", "app.kubernetes.io/managed-by", "app.kubernetes.io/name")


class SecretKey(msgspec.Struct, frozen=True):
    """One entry of a Secret that is in the namespace.

    Attributes:
        name: The Secret.
        key: The entry.
    """

    name: str
    key: str


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is mounted into the pods: one of a claim, a Secret, or a ConfigMap.

    Attributes:
        mount_path: Where.
        claim: A PersistentVolumeClaim in the namespace.
        secret_name: A Secret in the namespace; its entries become files.
        config_map: A ConfigMap in the namespace; its entries become files.
        sub_path: A folder inside the volume, instead of all of it.
        read_only: Whether pods may not write to it. Secrets and ConfigMaps are read-only anyway.
    """

    mount_path: str
    claim: str | None = None
    secret_name: str | None = None
    config_map: str | None = None
    sub_path: str | None = None
    read_only: bool = False


class KubernetesOptions(Settings):
    """What all three backends have in common.

    Args:
        image: What the pods run: an image that holds zenml-core, zenml-k8s and what the steps need,
            such as ``zenml image build`` makes. By default the one that it makes, by its name.
        job_prefix: What the names of Jobs begin with.
        extra_labels: Further labels of Jobs and pods.
        extra_annotations: Further annotations of Jobs and pods.
        namespace: Where the Jobs are; by default the kubeconfig's or the pod's own.
        image_pull_policy: When a node pulls the image.
        kubernetes_config_path: The kubeconfig; by default what ``KUBECONFIG`` names, or
            ``~/.kube/config``. Where there is none, in a pod, the pod's service account is used.
        context: The kubeconfig's context; by default its current one.
        proxy: URL of a proxy on the way to the API server; by default the kubeconfig's, or that of
            the environment.
        ca_file: Certificates that the API server's is checked by, instead of the kubeconfig's.
        cpu: Processors that a pod is promised, as Kubernetes writes it: ``500m``, ``2``.
        memory: Memory that a pod is promised, and may not go beyond: ``512Mi``, ``4Gi``.
        ephemeral_storage: Disk that a pod is promised, and may not go beyond.
        gpus: GPUs of each pod.
        gpu_resource: What the cluster calls a GPU.
        node_selector: Labels that a node must have.
        tolerations: Taints that pods put up with, as Kubernetes writes them.
        affinity: As Kubernetes writes it.
        spot: Whose spot nodes the pods are to run on.
        service_account: Whose rights the pods have. Their token is mounted only if one is named.
        environment: Environment variables; no secrets.
        environment_from_secrets: Environment variables whose values are entries of Secrets.
        image_pull_secret_names: Secrets that the image is pulled with.
        volumes: What is mounted into the pods.
        priority_class: The pods' PriorityClass.
        queue: The Kueue LocalQueue that admits the Jobs.
        run_as_user: The pods' user, group and group of volumes; None leaves it to the cluster.
        termination_grace_period: Seconds that a pod is given to save its work when it is evicted.
        ttl: Seconds after which the cluster removes a Job that has ended, if nobody has.
        pod_template: Laid over the pod's template at last: mappings are merged, lists whose items
            have a ``name`` are merged by it, everything else is replaced.
        python: The interpreter in the image.
    """

    image: str | None = None
    job_prefix: str = "zenml-"
    extra_labels: dict[str, str] = {}  # noqa: RUF012 - copied for each backend
    extra_annotations: dict[str, str] = {}  # noqa: RUF012
    namespace: str | None = None
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    kubernetes_config_path: str | None = None
    context: str | None = None
    proxy: str | None = None
    ca_file: str | None = None
    cpu: str | None = None
    memory: str | None = None
    ephemeral_storage: str | None = None
    gpus: Annotated[int, Meta(ge=0)] = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}  # noqa: RUF012
    tolerations: list[dict[str, Any]] = []  # noqa: RUF012
    affinity: dict[str, Any] | None = None
    spot: Literal["gke", "eks", "aks"] | None = None
    service_account: str | None = None
    environment: dict[str, str] = {}  # noqa: RUF012
    environment_from_secrets: dict[str, SecretKey] = {}  # noqa: RUF012
    image_pull_secret_names: list[str] = []  # noqa: RUF012
    volumes: list[Volume] = []  # noqa: RUF012
    priority_class: str | None = None
    queue: str | None = None
    run_as_user: Annotated[int, Meta(ge=1)] | None = 1000
    termination_grace_period: Annotated[int, Meta(ge=1)] = 60
    ttl: Annotated[int, Meta(ge=3600)] = 86400
    pod_template: dict[str, Any] = {}  # noqa: RUF012
    python: str = "python"

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """What the API server would refuse, and what would hide a Job from us."""
        yield from super().validate()
        yield from self._wrong_names()
        for name in ("cpu", "memory", "ephemeral_storage"):
            value = getattr(self, name)
            if value is not None and not _QUANTITY.fullmatch(value):
                yield name, f"expected a quantity such as '500m' or '4Gi', found '{value}'"
        for place, volume in enumerate(self.volumes):
            path = f"volumes[{place}]"
            sources = [volume.claim, volume.secret_name, volume.config_map]
            if sum(source is not None for source in sources) != 1:
                yield path, "expected one of claim, secret_name and config_map"
            if not volume.mount_path.startswith("/"):
                yield (
                    f"{path}.mount_path",
                    f"expected an absolute path, found {volume.mount_path!r}",
                )
        paths = [volume.mount_path.rstrip("/") for volume in self.volumes]
        for doubled in sorted({path for path in paths if paths.count(path) > 1}):
            yield "volumes", f"two volumes are mounted at '{doubled}'"

    def check(self) -> list[Check]:
        """Look whether the cluster could be used now. See ``Backend.check``."""
        from zenml.k8s._check import check

        return check(self)

    def permissions(self) -> str:
        """The Role that whoever uses the backend needs, as YAML. See ``Backend.permissions``."""
        from zenml.k8s._rights import role

        return role(self)

    def _wrong_names(self) -> Iterator[tuple[str, str]]:
        if not _PREFIX.fullmatch(self.job_prefix):
            form = "up to 29 lower-case letters, digits and '-', beginning with a letter"
            yield "job_prefix", f"expected {form}, found '{self.job_prefix}'"
        for name in ("namespace", "queue"):
            value = getattr(self, name)
            if value is not None and not DNS_LABEL.fullmatch(value):
                yield name, f"is not a name that Kubernetes takes: '{value}'"
        for name, labels in (
            ("extra_labels", self.extra_labels),
            ("node_selector", self.node_selector),
        ):
            for key, value in labels.items():
                if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                    yield f"{name}.{key}", f"is not a label that Kubernetes takes: '{value}'"
        for key in self.extra_labels:
            if key.startswith(_OURS):
                yield f"extra_labels.{key}", "is one of ours: Jobs are found by it"
        for key in self.extra_annotations:
            if not _LABEL_KEY.fullmatch(key):
                yield f"extra_annotations.{key}", "is not a key that Kubernetes takes"
        for key in [*self.environment, *self.environment_from_secrets]:
            if not _VARIABLE.fullmatch(key):
                yield f"environment.{key}", "is not the name of an environment variable"
        for key in sorted(self.environment.keys() & self.environment_from_secrets.keys()):
            yield f"environment.{key}", "is given by environment_from_secrets too"
