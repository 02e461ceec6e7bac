"""Why a job has failed: what Dataflow and its workers say, in the words that users read."""

from __future__ import annotations

import pytest

from zenml.dataflow._states import failure_of

FOUR_TIMES = (
    "Workflow failed. Causes: S01:Spread+Execute failed., The job failed because a work item has "
    "failed 4 times. The work item was attempted on these workers:\n\n      Root cause: "
)

TRACEBACK = """Error message from worker: generic::unknown: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1498, in process
  File "/usr/lib/python3.11/site-packages/zenml/beam/_worker.py", line 55, in process
    answer = self._order.execute(index)
zenml.core.errors.StoreUnavailableError: the bucket does not answer

During handling of the above exception, another exception occurred:
"""


@pytest.mark.parametrize(
    ("messages", "cause", "said"),
    [
        ([], "LOST", "does not say why"),
        (
            ["Startup of the worker pool failed: ZONE_RESOURCE_POOL_EXHAUSTED: no room."],
            "UNSCHEDULABLE",
            "no room",
        ),
        (["Project p has insufficient quota(s) to execute this workflow."], "UNSCHEDULABLE", "quo"),
        (["Error syncing pod, ErrImagePull: image:1 not found", FOUR_TIMES], "IMAGE", "image:1"),
        (["Traceback …\nModuleNotFoundError: No module named 'zenml'"], "IMAGE", "named 'zenml'"),
        (["The worker is out of memory", FOUR_TIMES + "SDK disconnect."], "OOM", "out of memory"),
        ([FOUR_TIMES + "SDK disconnect."], None, "ended its worker process"),
        ([FOUR_TIMES + "The worker lost contact with the service."], None, "ended its worker"),
        ([TRACEBACK, FOUR_TIMES + "see above"], "INFRA", "the bucket does not answer"),
        (["PERMISSION_DENIED: worker@p may not read gs://b"], "CONFIG", "may not read"),
        (["Traceback (most\n  File x\nValueError: odd", "later"], None, "ValueError: odd"),
        (["Something new happened."], None, "Something new happened."),
    ],
)
def test_what_is_said_comes_to_a_cause(messages: list[str], cause: str | None, said: str) -> None:
    failure = failure_of(messages)
    assert failure.cause == cause
    assert said in failure.message
    assert "\n" not in failure.message
