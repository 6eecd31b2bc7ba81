"""Temporal behind TLS that asks for the client's certificate too: what a door in front of a real server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from beluga_stream import Orchestrator, temporal_worker
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import TemporalUnavailable
from tests.certificates import Authority
from tests.temporal import works


@asynccontextmanager
async def door(authority: Authority, behind: str, folder: Path) -> AsyncIterator[str]:
    """The address of a TLS listener that lets in whom the authority knows, and passes on what they say."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(*authority.signs("temporal.test").written_to(folder, "server"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    host, _, port = behind.rpartition(":")
    passing: set[asyncio.Task[None]] = set()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return  # one of the two has left
        finally:
            writer.close()

    async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        for task in (one_way(reader, to_writer), one_way(to_reader, writer)):
            passing.add(asyncio.create_task(task))

    server = await asyncio.start_server(let_in, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def test_a_graph_runs_over_mutual_tls(temporal_address: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca.pem")
    certificate, key = authority.signs("a client").written_to(tmp_path, "client")
    async with door(authority, temporal_address, tmp_path) as address:
        settings = Settings.load(
            temporal_address=address,
            temporal_task_queue=tmp_path.name,
            temporal_tls_ca=str(authority.file),
            temporal_tls_cert=str(certificate),
            temporal_tls_key=str(key),
            temporal_tls_server_name="localhost",
            blobs=str(tmp_path),
            shutdown_grace_seconds=0.5,
        )
        async with Orchestrator(settings) as orch, temporal_worker(works.asking, settings=settings, log="memory"):
            asking = orch.create_workflow(works.asking)
            run = await asking.execute(3)
            await asking.signal(run, works.approval, value=True)
            assert await asking.get_result(run, timeout=30) == "3 True"


async def test_who_is_not_known_is_told_so(temporal_address: str, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca.pem"), Authority(tmp_path / "other.pem")
    certificate, key = other.signs("a stranger").written_to(tmp_path, "stranger")
    async with door(authority, temporal_address, tmp_path) as address:
        for trusted in (authority, other):
            settings = Settings.load(
                temporal_address=address,
                temporal_tls_ca=str(trusted.file),
                temporal_tls_cert=str(certificate),
                temporal_tls_key=str(key),
            )
            async with Orchestrator(settings) as orch:
                with pytest.raises(TemporalUnavailable, match=address):
                    await orch.create_workflow(works.asking).execute(3)
