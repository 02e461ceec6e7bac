"""Who may do what: the least that a backend needs, for projects that grant no more."""

from __future__ import annotations

from typing import Final

from zenml.gcaip._options import VertexOptions

__all__ = ["role"]

#: What for, and the permissions.
_PERMISSIONS: Final = (
    (
        "start, follow and end jobs",
        tuple(f"customJobs.{verb}" for verb in ("cancel", "create", "delete", "get", "list")),
    ),
    ("show what a job printed before it reached the store", ("logEntries.list",)),
)

_SERVICES: Final = {"customJobs": "aiplatform", "logEntries": "logging"}


def role(options: VertexOptions) -> str:
    """A role, as ``gcloud iam roles create --file`` takes it; bindings are in its comments.

    Who they are for is for the administrator to say.
    """
    bucket = "/".join(options.job_dir.split("/")[:3])
    project = options.project
    lines = [
        f"# gcloud iam roles create zenmlTraining --project={project} --file=THIS-FILE",
        "title: ZenML training on Vertex AI",
        "stage: GA",
        "includedPermissions:",
    ]
    for reason, names in _PERMISSIONS:
        lines.append(f"# {reason}")
        lines += [f"- {_SERVICES[name.partition('.')[0]]}.{name}" for name in names]
    lines += [
        "# whoever starts jobs, REPLACE-ME, has that role, and stages packages:",
        *_grant(
            f"projects add-iam-policy-binding {project}", f"projects/{project}/roles/zenmlTraining"
        ),
        *_grant(f"storage buckets add-iam-policy-binding {bucket}", "roles/storage.objectUser"),
    ]
    if options.service_account is None:
        lines += [
            "# the jobs have the rights of an agent of Vertex AI, in every bucket of the project;",
            "# service_account= gives them those of an account of yours",
        ]
        return "\n".join(lines) + "\n"
    account = f"serviceAccount:{options.service_account}"
    lines += [
        "# jobs act as that account, which whoever starts them has to be allowed to have them do:",
        *_grant(
            f"iam service-accounts add-iam-policy-binding {options.service_account}",
            "roles/iam.serviceAccountUser",
        ),
        "# it reads and writes artifacts (likewise in the bucket of the artifact store), and logs:",
        *_grant(
            f"storage buckets add-iam-policy-binding {bucket}", "roles/storage.objectUser", account
        ),
        *_grant(f"projects add-iam-policy-binding {project}", "roles/logging.logWriter", account),
    ]
    if options.image is not None:
        lines += [
            "# it pulls the image:",
            *_grant(
                f"projects add-iam-policy-binding {project}",
                "roles/artifactregistry.reader",
                account,
            ),
        ]
    return "\n".join(lines) + "\n"


def _grant(command: str, granted: str, member: str = "REPLACE-ME") -> list[str]:
    return [f"# gcloud {command} \\", f"#   --member={member} --role={granted}"]
