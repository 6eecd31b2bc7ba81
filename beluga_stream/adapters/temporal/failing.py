"""What fails a user's workflow: any exception that its code raises, where Temporal's default is to wait for other code.

The interpreter keeps that default. It has no code of users, so what it raises is a mistake of ours or of a deployment,
and its runs go on when that is mended.
"""

from dataclasses import replace

from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from .interpreter import Interpreter


class Sandboxed(SandboxedWorkflowRunner):
    """Runs users' classes in Temporal's sandbox."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return super().create_instance(_failing(det))


class Unsandboxed(UnsandboxedWorkflowRunner):
    """Runs the interpreter, and users' classes that ask for no sandbox."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return super().create_instance(det if det.defn.cls is Interpreter else _failing(det))


def _failing(details: WorkflowInstanceDetails) -> WorkflowInstanceDetails:
    """Not by the worker's option of that name, which is for all of its workflows, and for histories that do not fit."""
    return replace(details, worker_level_failure_exception_types=[Exception])
