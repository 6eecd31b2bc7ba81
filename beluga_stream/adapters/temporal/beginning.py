"""How a workflow of the interpreter began: what its history says."""

from typing import NamedTuple

from temporalio.client import Client

from . import envelopes
from .calls import CALL, translated
from .envelopes import Start


class Beginning(NamedTuple):
    """What its newest execution was given (None: it is of another kind), and which its first one was."""

    start: Start | None
    first: str


async def beginning_of(client: Client, workflow: str) -> Beginning:
    """How the workflow of this id began. Raises as `translated`."""
    events = client.get_workflow_handle(workflow).fetch_history_events(page_size=1, rpc_timeout=CALL)
    with translated("look at", workflow):
        event = await anext(events)
    attributes = event.workflow_execution_started_event_attributes
    if attributes.workflow_type.name != envelopes.INTERPRETER:
        return Beginning(None, attributes.first_execution_run_id)
    [given] = await client.data_converter.decode(attributes.input.payloads, [Start])
    return Beginning(given if isinstance(given, Start) else None, attributes.first_execution_run_id)
