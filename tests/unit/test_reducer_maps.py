"""Maps in every size, small ones as items and large ones as pages."""

from dataclasses import replace
from itertools import dropwhile

import pytest

from beluga_stream.application.coordinator.rendering import node_ready
from beluga_stream.domain.commands import DispatchNode, StartChild
from beluga_stream.domain.definition import EdgeMode, NodeKind, OnFailure
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import Event, NodeFailed, NodeOverridden, RetryRequested, RunRequested
from beluga_stream.domain.ids import NodeKey, RunId, bounds_of, is_page
from beluga_stream.domain.payload import Inline, Paged
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NodeState, NodeStatus, Override, RunState, RunStatus
from tests.unit.graphs import MAP_SIZES, ONCE, ROOT, child_of, edge, edges, name, node, plan, values_of
from tests.unit.plays import CALM, ROUGH, Play

HARDY = RetryPolicy(attempts=50)


def mapped(**options: object) -> Plan:
    return plan([node("map", NodeKind.MAP, **options), node("after")], edges("input > map > after"), ["map"])


@pytest.mark.parametrize("size", MAP_SIZES)
@pytest.mark.parametrize("parallel", [1, 7, 64, 130])
def test_outputs_are_in_order_however_items_end(size: int, parallel: int) -> None:
    play = Play(mapped(max_parallel=parallel, retry=HARDY), size, value=list(range(size)))
    play.behaviour = replace(ROUGH, final=0.0, repeats=0.02 if size > 64 else 0.5)
    most = 0

    def watch(*_: object) -> None:
        nonlocal most
        under_way = sum(
            node.status in (NodeStatus.READY, NodeStatus.RUNNING)
            for run in play.runs.values()
            for key, node in run.nodes.items()
            if key.startswith("map[") and ":" not in key
        )
        most = max(most, under_way)

    play.on_decision = watch
    state = play.run()
    assert state.status is RunStatus.SUCCEEDED
    assert values_of(state.output) == list(range(size))
    assert most <= parallel
    assert isinstance(state.output, Paged) is (size > 64)
    # What comes after the map belongs to the run itself, and is not begun in its pages.
    assert {run for run, key, _ in play.dispatched if key == "after"} == {ROOT}


def test_a_done_map_keeps_its_values_once() -> None:
    play = Play(mapped(), value=list(range(40)))
    state = play.run()
    kept = [key for key, node in state.nodes.items() if "[" in key and node.output is not None]
    # The last item keeps its own, since the event that ends it shows it to readers.
    assert len(kept) == 1


@pytest.mark.parametrize("size", [3, 64, 65, 200])
def test_a_failed_item_stops_the_others_and_retry_goes_on_from_it(size: int) -> None:
    play = Play(mapped(max_parallel=128, retry=ONCE), size, value=list(range(size)))
    play.behaviour = replace(CALM, fails=0.05, final=1.0)
    state = play.run()
    while state.status is not RunStatus.FAILED:
        play = Play(mapped(max_parallel=128, retry=ONCE), play.random.randint(0, 999), value=list(range(size)))
        play.behaviour = replace(CALM, fails=0.05, final=1.0)
        state = play.run()
    assert all(run.ended for run in play.runs.values())
    done = {
        (run, key)
        for run, found in play.runs.items()
        for key, each in found.nodes.items()
        if each.status is NodeStatus.SUCCEEDED and ":" not in key and "[" in key
    }
    # Pages that were stopped with the run begin anew, as other runs; those that failed go on.
    begun = len(play.dispatched)
    play.behaviour = CALM
    play.ask(RetryRequested(run=ROOT, key=ROOT, at_ms=0))
    state = play.run()
    assert state.status is RunStatus.SUCCEEDED
    assert values_of(state.output) == list(range(size))
    assert not done & {(run, key) for run, key, _ in play.dispatched[begun:]}


def test_a_forgiven_map_fails_as_a_whole_and_the_run_goes_on() -> None:
    forgiving = plan(
        [node("map", NodeKind.MAP, retry=ONCE, on_failure=OnFailure.CONTINUE), node("told")],
        [*edges("input > map"), edge("map", "told", EdgeMode.OUTCOME)],
        ["told"],
    )
    for size in (3, 200):
        play = Play(forgiving, 1, replace(CALM, fails=0.5, final=1.0), value=list(range(size)))

        def heal(before: object, event: object, after: object, play: Play = play) -> None:
            if isinstance(event, NodeFailed):
                play.behaviour = CALM

        play.on_decision = heal
        state = play.run()
        assert state.nodes[NodeKey("map")].status is NodeStatus.FAILED
        assert state.status is RunStatus.SUCCEEDED
        pages = [run for run in play.runs.values() if run.page is not None]
        assert len(pages) == (0 if size == 3 else 1)
        assert all(page.failure is not None and page.failure.code == "boom" for page in pages)
        # A page leaves it to its parent whether the failure is forgiven.
        assert [run for run, key, _ in play.dispatched if key == "told"] == [ROOT]


def test_an_items_fallback_stands_in_for_it() -> None:
    play = Play(mapped(retry=ONCE, has_fallback=True), value=[1, 2, 3])
    failed: list[object] = []

    def handler(before: object, event: object, after: object) -> None:
        if isinstance(event, NodeFailed):
            failed.append(event.node)
            play.behaviour = CALM

    play.behaviour = replace(CALM, fails=1.0, final=1.0)
    play.on_decision = handler
    state = play.run()
    assert state.status is RunStatus.SUCCEEDED
    assert failed
    assert {key for key, each in state.nodes.items() if each.fallback} == set(failed)


def test_a_page_has_no_fallback_since_its_items_have() -> None:
    play = Play(mapped(retry=ONCE, has_fallback=True), behaviour=replace(CALM, fails=1.0), value=list(range(65)))
    assert play.run().status is RunStatus.FAILED
    assert not [key for _, key, _ in play.dispatched if is_page(key)]


def test_a_map_over_a_graph_gives_each_item_a_run_of_its_own() -> None:
    over = plan([child_of("map", NodeKind.MAP, max_parallel=2)], edges("input > map"), ["map"])
    play = Play(over, value=[1, 2, 3])
    state = play.run()
    assert values_of(state.output) == ["two", "two", "two"]
    assert len(play.runs) == 4


@pytest.mark.parametrize("value", [None, 3, "text", {"a": 1}])
def test_no_list_to_go_over_fails_the_map_before_anything_is_sent(value: object) -> None:
    play = Play(mapped(has_fallback=True), value=value)
    state = play.run()
    assert state.status is RunStatus.FAILED
    assert state.failure is not None
    assert state.failure.code == "invalid_input"
    assert "input gave no list" in state.failure.message
    assert not play.dispatched


def test_a_map_takes_the_edge_that_is_taken_and_not_one_that_only_orders() -> None:
    wired = plan(
        [node("one"), node("two"), node("map", NodeKind.MAP)],
        [
            *edges("input > one", "input > two"),
            edge("one", "map", EdgeMode.ORDER),
            edge("one", "map", branch=0),
            edge("two", "map"),
        ],
        ["map"],
    )
    play = Play(wired, behaviour=replace(CALM, branches=0.0, lengths=(2,)))
    state = play.run()
    assert state.nodes[NodeKey("one")].branches == ()
    assert values_of(state.output) == [0, 1]


def test_a_page_has_no_deadline_of_its_own_even_after_a_retry() -> None:
    play = Play(mapped(retry=ONCE), 3, replace(CALM, fails=0.01, final=1.0), value=list(range(200)))
    for seed in range(3, 50):
        if play.run().status is RunStatus.FAILED:
            break
        play = Play(mapped(retry=ONCE), seed, replace(CALM, fails=0.01, final=1.0), value=list(range(200)))
    play.behaviour = CALM
    play.on_decision = lambda before, event, after: (
        None if after.state.page is None else _has_no_deadline(after.state.due_ms)
    )
    play.ask(RetryRequested(run=ROOT, key=ROOT, at_ms=0))
    assert play.run().status is RunStatus.SUCCEEDED


def _has_no_deadline(due_ms: int | None) -> None:
    assert due_ms is None


def test_a_page_is_known_by_its_parents_run() -> None:
    play = Play(mapped(), value=list(range(65)))
    play.run()
    assert set(play.runs) == {ROOT, RunId(f"{ROOT}.map[0:64]"), RunId(f"{ROOT}.map[64:65]")}
    assert play.runs[RunId(f"{ROOT}.map[64:65]")].output == Inline([64])


def over_a_stream(**options: object) -> Plan:
    return plan(
        [node("writes", NodeKind.STREAM, retry=HARDY), node("map", NodeKind.MAP, **options), node("after")],
        [*edges("input > writes", "map > after"), edge("writes", "map", EdgeMode.STREAM)],
        ["map"],
    )


@pytest.mark.parametrize("size", [*MAP_SIZES, 128, 192])
@pytest.mark.parametrize("parallel", [1, 7, 64, 130])
def test_a_map_over_a_stream_gives_as_much_as_one_over_its_list(size: int, parallel: int) -> None:
    play = Play(over_a_stream(max_parallel=parallel, retry=HARDY), size)
    play.behaviour = replace(ROUGH, final=0.0, repeats=0.02 if size > 64 else 0.5, lengths=(size,))
    state = play.run()
    assert state.status is RunStatus.SUCCEEDED
    assert values_of(state.output) == list(range(size))
    assert {run for run, key, _ in play.dispatched if key == "after"} == {ROOT}


def test_items_begin_before_the_writer_has_ended_and_no_more_than_may() -> None:
    begun_early = most = 0

    def watch(play: Play) -> None:
        nonlocal begun_early, most
        items = [
            each.status
            for run in play.runs.values()
            for key, each in run.nodes.items()
            if key.startswith("map[") and ":" not in key
        ]
        most = max(most, sum(status in (NodeStatus.READY, NodeStatus.RUNNING) for status in items))
        if play.runs and play.state.nodes.get(NodeKey("writes"), NodeState()).status is not NodeStatus.SUCCEEDED:
            begun_early = max(begun_early, len(items))

    for seed in range(20):
        play = Play(over_a_stream(max_parallel=3), seed, replace(CALM, lengths=(200,)))
        play.on_decision = lambda *_, of=play: watch(of)
        assert values_of(play.run().output) == list(range(200))
    assert most == 3
    assert begun_early > 0


def test_no_page_begins_behind_the_end_of_a_stream_that_has_ended() -> None:
    for seed in range(20):
        play = Play(over_a_stream(max_parallel=64), seed, replace(CALM, lengths=(128,)))
        assert values_of(play.run().output) == list(range(128))
        decisions = play.logs[ROOT].decisions
        since = dropwhile(lambda decision: not decision.state.nodes[NodeKey("writes")].output, decisions)
        begun = [command for decision in since for command in decision.commands if isinstance(command, StartChild)]
        assert all(bounds_of(command.node)[0] < 128 for command in begun)


def test_no_page_holds_more_of_a_stream_than_its_items() -> None:
    play = Play(over_a_stream(max_parallel=1), 3, replace(CALM, lengths=(300,)))

    def watch(*_: object) -> None:
        for run in play.runs.values():
            if run.page is not None:
                assert len([key for key in run.nodes if "[" in key]) <= 64
                assert run.nodes[run.page.node].came <= run.page.stop

    play.on_decision = watch
    assert values_of(play.run().output) == list(range(300))
    assert len([run for run in play.runs.values() if run.page is not None]) == 5


def test_a_stream_that_proves_void_takes_the_pages_with_it() -> None:
    void = 0
    for seed in range(15):
        play = Play(over_a_stream(max_parallel=200, retry=HARDY), seed)
        play.behaviour = replace(ROUGH, fails=0.5, final=0.0, repeats=0.0, lengths=(150,))
        state = play.run()
        assert values_of(state.output) == list(range(150))
        assert all(run.ended for run in play.runs.values())
        begun = {key.rpartition("#")[2] for key in state.nodes if is_page(key)}
        void += len(begun) > 1
    assert void > 0


def test_a_failed_item_of_a_stream_fails_the_map_and_retry_goes_on_from_it() -> None:
    for seed in range(60):
        play = Play(over_a_stream(max_parallel=128, retry=ONCE), seed)
        play.behaviour = replace(CALM, fails=0.02, final=1.0, lengths=(150,))
        state = play.run()
        if state.status is RunStatus.FAILED and state.nodes[NodeKey("writes")].status is NodeStatus.SUCCEEDED:
            break
    assert state.status is RunStatus.FAILED
    done = {
        (run, key)
        for run, found in play.runs.items()
        for key, each in found.nodes.items()
        if each.status is NodeStatus.SUCCEEDED and ":" not in key and "[" in key
    }
    assert done
    begun = len(play.dispatched)
    play.behaviour = replace(CALM, lengths=(150,))
    play.ask(RetryRequested(run=ROOT, key=ROOT, at_ms=0))
    state = play.run()
    assert state.status is RunStatus.SUCCEEDED
    assert values_of(state.output) == list(range(150))
    assert not done & {(run, key) for run, key, _ in play.dispatched[begun:]}


OVERRIDE = NodeOverridden(run=ROOT, key=ROOT, at_ms=0, node=name("map"), timeout_ms=9_000, attempts=3)


def pages_of(play: Play) -> list[RunState]:
    return [run for run in play.runs.values() if run.page is not None]


def test_an_override_reaches_the_pages_that_go_on_and_those_that_begin_later() -> None:
    play = Play(mapped(max_parallel=128, retry=ONCE, timeout_ms=1_000), 1, CALM, value=list(range(300)))
    while len(pages_of(play)) < 2:
        assert play.step()
    play.deliver(OVERRIDE)
    told = [play.runs[RunId(f"{ROOT}.map[{at}:{at + 64}]")].run for at in (0, 64)]
    timeouts: list[int | None] = []

    def watch(before: object, event: Event, after: Decision) -> None:
        of = after.state
        if of.page is not None and isinstance(event, RunRequested) and of.run not in told:
            work = [command for command in after.commands if isinstance(command, DispatchNode)]
            timeouts.extend(one.timeout_ms for each in work if (one := node_ready(play.plan, of, each, 0)) is not None)

    play.on_decision = watch
    assert play.run().status is RunStatus.SUCCEEDED
    assert len(pages_of(play)) == 5
    assert all(page.overrides == {name("map"): Override(9_000, 3)} for page in pages_of(play))
    assert timeouts == [9_000] * (300 - 2 * 64), "a page that begins later has it from its first item on"


def test_a_page_that_failed_has_the_override_when_the_run_is_retried() -> None:
    play = Play(mapped(retry=ONCE), 1, replace(CALM, fails=1.0, final=0.0), value=list(range(100)))
    assert play.run().status is RunStatus.FAILED
    (failed,) = pages_of(play)
    play.deliver(OVERRIDE)
    play.ask(RetryRequested(run=ROOT, key=ROOT, at_ms=0))
    assert play.run().status is RunStatus.FAILED
    page = play.runs[failed.run]
    assert page.overrides == {name("map"): Override(9_000, 3)}
    assert page.failure is not None
    assert "after 3 attempts" in page.failure.message


def test_pages_of_a_stream_begin_with_the_override() -> None:
    play = Play(over_a_stream(), 1, replace(CALM, lengths=(150,)))
    while ROOT not in play.runs:
        assert play.step()
    play.deliver(OVERRIDE)
    assert play.run().status is RunStatus.SUCCEEDED
    assert len(pages_of(play)) >= 3
    assert all(page.overrides == {name("map"): Override(9_000, 3)} for page in pages_of(play))
