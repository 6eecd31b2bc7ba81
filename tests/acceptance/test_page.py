"""The gateway's page of runs in a real Chromium: a run is started, followed, signalled and forked by its buttons."""

import asyncio
from pathlib import Path

import pytest

from tests.acceptance import chromium
from tests.engine import running
from tests.gateway import GatewayProcess

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="there is no Chromium on this machine")

_FIND = "const one = (css, text = '') => [...document.querySelectorAll(css)].find(e => e.textContent.includes(text));"


async def until(page: chromium.Page, condition: str) -> None:
    await page.evaluate(
        f"new Promise(done => {{ {_FIND} const timer = setInterval(() => "
        f"{{ if ({condition}) {{ clearInterval(timer); done(); }} }}, 10); }})"
    )


async def click(page: chromium.Page, css: str, text: str = "") -> None:
    await until(page, f"one({css!r}, {text!r})")
    await page.evaluate(f"(() => {{ {_FIND} one({css!r}, {text!r}).click(); }})()")


async def fill(page: chromium.Page, css: str, value: str) -> None:
    await until(page, f"one({css!r})")
    change = f"field.value = {value!r}; field.dispatchEvent(new Event('change', {{bubbles: true}}));"
    await page.evaluate(f"(() => {{ const field = document.querySelector({css!r}); {change} }})()")


async def test_a_run_is_started_signalled_and_forked_on_the_page(broker: str, tmp_path: Path) -> None:
    with running(broker, tmp_path, agents="tests.acceptance.tellers", groups=2) as engine:
        gateway = GatewayProcess(engine)
        gateway.start()
        try:
            async with chromium.opened(f"{gateway.url}/", tmp_path / "browser") as page, asyncio.timeout(90):
                await click(page, "a", "Start a run")
                await fill(page, "form.start select", "held")
                await fill(page, "form.start textarea", "4")
                await click(page, "form.start button", "Start")
                await until(page, "one('.stream .text', 'word-3')")
                await until(page, "one('#runs a[aria-current] strong', 'held')")
                await click(page, "button", "Signal on")
                await fill(page, "dialog textarea", '"no number"')
                await click(page, "dialog button.main")
                await until(page, "one('dialog .error', 'does not take this value')")
                await fill(page, "dialog textarea", "6")
                await click(page, "dialog button.main")
                await until(page, "one('h1 .badge', 'succeeded') && !one('dialog')")
                text = await page.evaluate("[...document.querySelectorAll('.stream .text')].map(e => e.textContent)")
                names = await page.evaluate("[...document.querySelectorAll('g.box')].map(e => e.ariaLabel)")
                await page.evaluate("document.querySelector('g.box').dispatchEvent(new Event('click'))")
                await click(page, ".node button", "Run again from here")
                await click(page, "dialog button.main")
                await until(page, "one('p', 'Goes on from')")
        finally:
            gateway.stop()
    assert "".join(text) == "".join(f"word-{number}" for number in range(6))
    assert sorted(names) == ["on", "tell", "tell_on", "whole"]
