"""For tests of graphs: `simulate` plays one on an engine that fails as a seed decides.

    pytest_plugins = ["beluga_stream.testing"]      # in conftest.py

    @pytest.mark.parametrize("seed", range(100))
    def test_charges_once(simulate: Simulate, seed: int) -> None:
        outcome = simulate(sale, Order(id="7"), seed=seed, fakes={charge: fake_charge})
        assert outcome.status == "succeeded"
        assert len(set(outcome.effects(charge))) == 1

Coordinators and workers are the real ones. Their log delays, their processes die between any two effects, are
stopped and taken for dead, and are replaced; time is virtual. A failing seed fails again.

`ProviderContract` and `WorkflowContract` are for tests of an orchestrator's providers: see docs/orchestrator.md.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{suite}" for suite in ("played", "provider_contract", "workflow_contract"))
)

from .fixture import Outcome, Simulate, simulate  # noqa: E402 - asserts are rewritten when a module is imported
from .provider_contract import ProviderContract  # noqa: E402
from .workflow_contract import WorkflowContract  # noqa: E402

__all__ = ["Outcome", "ProviderContract", "Simulate", "WorkflowContract", "simulate"]
