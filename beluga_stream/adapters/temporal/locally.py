"""What a workflow has done in its own worker's process: by the log or the blob store, which may be away for long."""

import dataclasses
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

_LONGEST = timedelta(days=3650)
_WITHIN = timedelta(minutes=2)
_PATIENT = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
PATIENT_IF_THERE = dataclasses.replace(_PATIENT, non_retryable_error_types=("NotFound", "Tampered"))
"""Tries again, but for what is not there."""


async def locally(activity: str, *arguments: Any, result_type: Any = None, retry: RetryPolicy = _PATIENT) -> Any:
    """Do it; while log and store are away, it is tried again and again."""
    return await workflow.execute_local_activity(
        activity,
        args=arguments,
        result_type=result_type,
        schedule_to_close_timeout=_LONGEST,
        start_to_close_timeout=_WITHIN,
        retry_policy=retry,
    )
