"""Who may do what: the least that a backend needs, for projects that grant no more."""

from __future__ import annotations

from zenml.dataflow._options import DataflowOptions

__all__ = ["roles"]


def roles(options: DataflowOptions) -> str:
    """The commands that grant the roles.

    Who they are for is for the administrator to say.
    """
    project = options.project
    place = options.staging_location or "gs://BUCKET-OF-THE-ARTIFACT-STORE"
    bucket = "/".join(place.split("/")[:3])
    account = "SERVICE-ACCOUNT-OF-COMPUTE-ENGINE"
    if options.service_account is not None:
        account = options.service_account
    worker = f"serviceAccount:{account}"
    on_project = f"projects add-iam-policy-binding {project}"
    on_bucket = f"storage buckets add-iam-policy-binding {bucket}"
    lines = [
        "# whoever submits jobs, REPLACE-ME, starts, follows and cancels them:",
        *_grant(on_project, "roles/dataflow.developer"),
        "# stages pipelines and packages:",
        *_grant(on_bucket, "roles/storage.objectUser"),
        *_grant(on_bucket, "roles/storage.legacyBucketReader"),
        "# and has workers act as their account:",
        *_grant(
            f"iam service-accounts add-iam-policy-binding {account}",
            "roles/iam.serviceAccountUser",
        ),
        "# that account does the work:",
        *_grant(on_project, "roles/dataflow.worker", worker),
        "# and reads and writes artifacts (likewise in the bucket of the artifact store):",
        *_grant(on_bucket, "roles/storage.objectUser", worker),
    ]
    if options.image is not None:
        lines += [
            "# it pulls the image:",
            *_grant(on_project, "roles/artifactregistry.reader", worker),
        ]
    return "\n".join(lines) + "\n"


def _grant(command: str, granted: str, member: str = "REPLACE-ME") -> list[str]:
    return [f"gcloud {command} \\", f"  --member={member} --role={granted}"]
