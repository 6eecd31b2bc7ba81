# Not there yet, and not checked yet: the simulator and the orchestrator. See programs.py for the rest.
import pytest
from beluga_stream import Defaults, Features, Orchestrator
from beluga_stream.testing import Simulate
from handlers import *
from programs import approval, sale

# 11 simulation
@pytest.mark.parametrize("seed", range(500))
def test_charges_once(simulate: Simulate, seed: int) -> None:
    outcome = simulate(sale, Order(id="7"), seed=seed, signals={approval: Decision(ok=True)},
                       fakes={ask: fake_ask, charge: fake_charge})
    assert outcome.status == "succeeded"
    assert len(set(outcome.effects(charge))) == 1    # distinct idempotency keys

async def part69() -> None:
    # 12 orchestrator
    async with Orchestrator(features=Features(workflows=False), chains=Defaults(timeout=30, retries=3),
            graphs=Defaults(max_workers=10), metrics_prefix="beluga.orchestration") as orch:
        n: int = await orch.create_chain(clean, count).invoke("x y")
        await orch.check()
        print(n, orch.metrics().active_chains)
