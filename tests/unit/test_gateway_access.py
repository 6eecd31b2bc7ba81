"""Who may use the gateway: tokens, scopes, stream tokens, and pages of other sites."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beluga_stream.adapters.http.tokens import SCOPES, Scope, Token, Tokens, new_token, parse_tokens
from beluga_stream.bootstrap.gateway import listener, tokens_of
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import InvalidConfig
from tests.unit.desks import Desk, Mood, graph
from tests.unit.engines import HandClock
from tests.unit.gateways import QUICK, SECRET, Door, opened

RUN = "/v1/runs/" + "a" * 32


def token(name: str, *scopes: Scope) -> tuple[str, Token]:
    return new_token(name, frozenset(scopes or SCOPES))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_without_a_token_or_with_a_wrong_one_nothing_is_told() -> None:
    text, kept = token("shop")
    async with Desk(graph(Mood())).open() as desk, opened(desk, tokens=[kept]) as door:
        for headers in ({}, bearer("wrong"), bearer(text[:-1]), bearer(kept.hash), {"Authorization": f"Basic {text}"}):
            status, told, sent = await door.whole("GET", "/v1/runs", **headers)
            assert (status, told["code"]) == (401, "access_denied")
            assert sent["WWW-Authenticate"].startswith("Bearer")
        assert (await door.say("GET", f"/v1/runs?token={text}"))[0] == 401, "a URL is no place for a bearer token"
        assert (await door.say("GET", "/v1/runs", **bearer(text)))[0] == 200
        assert (await door.say("GET", "/healthz"))[0] == 200
        assert (await door.say("GET", "/openapi.json"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/graphs/test/runs", "start"),
        ("GET", "/v1/graphs", "read"),
        ("GET", "/v1/graphs/test", "read"),
        ("GET", "/v1/runs", "read"),
        ("GET", RUN, "read"),
        ("GET", f"{RUN}/result?timeout=0", "read"),
        ("GET", f"{RUN}/events", "read"),
        ("GET", f"{RUN}/nodes/a/output?timeout=0", "read"),
        ("POST", f"{RUN}/stream-token", "read"),
        ("POST", f"{RUN}/cancel", "control"),
        ("POST", f"{RUN}/retry", "control"),
        ("POST", f"{RUN}/nodes/a/override", "control"),
        ("POST", f"{RUN}/signals/go", "control"),
        ("POST", "/v1/topics/orders/events", "publish"),
    ],
)
async def test_each_operation_needs_its_scope_and_no_other(method: str, path: str, scope: Scope) -> None:
    right, of_right = token("right", scope)
    wrong, of_wrong = token("wrong", *(each for each in SCOPES if each != scope))
    async with Desk(graph(Mood())).open() as desk, opened(desk, tokens=[of_right, of_wrong]) as door:
        body = {} if method == "POST" else None
        status, told = await door.say(method, path, body, **bearer(wrong))
        assert (status, told["code"], f"{scope!r}" in told["detail"]) == (403, "access_denied", True)
        status, _ = await door.say(method, path, body, **bearer(right))
        assert status not in (401, 403)


async def test_a_stream_token_opens_one_stream_for_a_while_and_nothing_else() -> None:
    text, kept = token("shop")
    clock = HandClock()
    async with Desk(graph(Mood())).open() as desk, opened(desk, tokens=[kept], clock=clock) as door:
        run = (await door.say("POST", "/v1/graphs/test/runs", {"input": 1}, **bearer(text)))[1]["run"]
        status, told = await door.say("POST", f"/v1/runs/{run}/stream-token", **bearer(text))
        assert (status, told["expires_ms"]) == (200, clock.now + 900_000)
        assert told["events"] == f"/v1/runs/{run}/events?token={told['token']}"
        query = f"?token={told['token']}"
        assert (await door.events(run, query))[-1].event == "end"
        for method, path in [
            ("GET", f"{RUN}/events"),
            ("GET", f"/v1/runs/{run}"),
            ("POST", f"/v1/runs/{run}/cancel"),
            ("POST", f"/v1/runs/{run}/stream-token"),
        ]:
            assert (await door.say(method, path + query))[0] in (401, 403, 422), path
        forged = told["token"][:-2] + ("AA" if told["token"][-2:] != "AA" else "BB")
        for wrong in (forged, told["token"].partition(".")[0], "x.y", "", "é.é"):
            assert (await door.say("GET", f"/v1/runs/{run}/events?token={wrong}"))[0] == 401, wrong
        clock.now += 900_000
        assert (await door.say("GET", f"/v1/runs/{run}/events{query}"))[0] == 401


async def test_a_stream_token_is_good_at_every_gateway_with_the_secret() -> None:
    clock = HandClock()
    caller = Tokens([], clock=clock, stream_secret=SECRET)
    _, kept = token("shop", "read")
    some = Tokens([kept], clock=clock, stream_secret=SECRET)
    made, _ = some.stream_token(some.caller(token("x")[0]) or _anybody(some, kept), "r", 1)
    assert caller.stream_caller(made) is not None
    assert Tokens([], clock=clock).stream_caller(made) is None


async def test_tokens_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text, kept = token("shop")
    async with Desk(graph(Mood())).open() as desk, opened(desk, tokens=[kept]) as door:
        run = (await door.say("POST", "/v1/graphs/test/runs", {"input": 1}, **bearer(text)))[1]["run"]
        short = (await door.say("POST", f"/v1/runs/{run}/stream-token", **bearer(text)))[1]["token"]
        await door.events(run, f"?token={short}")
        await door.say("GET", "/v1/runs", **bearer("wrong-" + text))
    said = "\n".join(record.getMessage() for record in caplog.records if record.name != "asyncio")
    assert text not in said
    assert short not in said


async def test_without_tokens_only_local_names_are_answered() -> None:
    async with Desk(graph(Mood())).open() as desk, opened(desk) as door:
        status, told = await door.say("GET", "/v1/graphs", Host="attacker.example:80")
        assert (status, "local names" in told["detail"]) == (403, True)
        for host in ("localhost", "localhost:1", "[::1]:80", "127.0.0.1"):
            assert (await door.say("GET", "/v1/graphs", Host=host))[0] == 200, host


async def test_a_page_of_another_site_may_do_nothing_until_it_is_allowed() -> None:
    page = "https://shop.example"
    async with Desk(graph(Mood())).open() as desk:
        async with opened(desk) as door:
            for foreign in (page, "null", "http://[", "//"):
                assert (await door.say("POST", f"{RUN}/cancel", Origin=foreign))[0] == 403, foreign
            async with door.session.get(f"{door.url}{RUN}/events", headers=_upgrade() | {"Origin": page}) as response:
                assert response.status == 403
            own = door.url
            assert (await door.say("POST", f"{RUN}/cancel", Origin=own))[0] == 202
            assert "Access-Control-Allow-Origin" not in (await door.whole("GET", "/v1/graphs", Origin=own))[2]
        async with opened(desk, options=replace(QUICK, origins=(page,))) as door:
            status, _, headers = await door.whole("POST", f"{RUN}/cancel", Origin=page)
            assert (status, headers["Access-Control-Allow-Origin"]) == (202, page)
            await _preflight(door, page)


async def _preflight(door: Door, page: str) -> None:
    asked = {
        "Origin": page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    async with door.session.options(f"{door.url}/v1/graphs/test/runs", headers=asked) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, page)
        assert "Idempotency-Key" in response.headers["Access-Control-Allow-Headers"]
    asked["Origin"] = "https://other.example"
    async with door.session.options(f"{door.url}/v1/graphs/test/runs", headers=asked) as response:
        assert response.status == 400


def _upgrade() -> dict[str, str]:
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
    }


def _anybody(tokens: Tokens, kept: Token) -> Any:
    from beluga_stream.adapters.http.tokens import Caller  # noqa: PLC0415

    return Caller(kept.name, kept.scopes)


# ----------------------------------------------------------------------------------------- settings


def test_a_file_of_tokens_is_read_and_what_is_none_is_named(tmp_path: Path) -> None:
    text, kept = token("shop", "start", "read")
    file = tmp_path / "tokens"
    file.write_text(f"# of the shop\n\n{kept.line()}\n")
    tokens = tokens_of(Settings.load(http_token_file=file))
    caller = tokens.caller(text)
    assert caller is not None
    assert (caller.name, caller.scopes) == ("shop", {"start", "read"})
    assert tokens_of(Settings.load(http_tokens=f"{kept.line()},{token('b')[1].line()}")).caller(text) is not None
    for line, said in [
        ("shop", "line 1 is no token"),
        (f"shop:everything:{kept.hash}", "line 1 is no token"),
        (f"shop:read:{text}", "line 1 is no token"),
        (f"{kept.line()}\n{kept.line()}", "two tokens named 'shop'"),
    ]:
        with pytest.raises(InvalidConfig, match=said) as wrong:
            parse_tokens(line, "the file")
        assert text not in str(wrong.value)


def test_a_gateway_that_others_reach_wants_tokens(tmp_path: Path) -> None:
    for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"):
        with (
            pytest.raises(InvalidConfig, match="can be reached from elsewhere"),
            listener(Settings.load(http_address=address)),
        ):
            pass
    _, kept = token("shop")
    with listener(Settings.load(http_address="0.0.0.0:0", http_tokens=kept.line())) as listening:
        assert listening.getsockname()[1] > 0
    empty = tmp_path / "tokens"
    empty.write_text("# none yet\n")
    with pytest.raises(InvalidConfig, match="there are none"):
        tokens_of(Settings.load(http_token_file=empty))
    with pytest.raises(InvalidConfig, match="cannot be read"):
        tokens_of(Settings.load(http_token_file=tmp_path / "missing"))
    with pytest.raises(InvalidConfig, match="both set"):
        tokens_of(Settings.load(http_token_file=empty, http_tokens=kept.line()))


def test_an_address_that_is_taken_or_none_is_one_line() -> None:
    with listener(Settings.load(http_address="127.0.0.1:0")) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(InvalidConfig, match="cannot listen"),
            listener(Settings.load(http_address=f"127.0.0.1:{port}")),
        ):
            pass
    for address in ("8080", "localhost", "a b:1", "localhost:99999999", "127.0.0.1:99999"):
        with pytest.raises(InvalidConfig, match="BELUGA_HTTP_ADDRESS"), listener(Settings.load(http_address=address)):
            pass


def test_a_stream_secret_that_is_too_short_is_refused_unquoted() -> None:
    with pytest.raises(InvalidConfig, match="too short") as wrong:
        tokens_of(Settings.load(http_stream_secret="hush-hush"))
    assert "hush" not in str(wrong.value)
