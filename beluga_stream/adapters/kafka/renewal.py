"""An empty transaction, by which a broker goes on knowing a transactional id.

It forgets one that took part in no transaction for a while (`transactional.id.expiration.ms`: a week), however much its
producer writes otherwise. Whoever initialises the id then gets a new producer id in place of a higher epoch, and what
owned it before is not refused.
"""

from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest, EndTxnRequest


async def renew(client: AIOKafkaClient, transactional_id: str, producer_id: int, epoch: int, group: str) -> None:
    """Begin a transaction with `group` as its only participant, and commit it with nothing in it.

    Raises the broker's refusal as a `KafkaError`, and no `InitProducerId` is sent: that would make an owner of one that
    was replaced.
    """
    node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
    for request in (
        AddOffsetsToTxnRequest(transactional_id, producer_id, epoch, group),
        EndTxnRequest(transactional_id, producer_id, epoch, transaction_result=True),
    ):
        answer: Any = await client.send(node, request, group=ConnectionGroup.COORDINATION)
        refused = for_code(answer.error_code)
        if refused.errno != 0:
            raise refused()
