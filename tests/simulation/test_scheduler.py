"""Tasks with dependencies, priorities, deadlines and retries, in virtual time and in many orders of the event loop."""

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from beluga_stream import Defaults, Features, Orchestrator, Retry, Scheduled, Scheduler, Task, chain, node
from beluga_stream.application.scheduler.task import Entry
from beluga_stream.errors import (
    DependencyFailed,
    ExecutionFailed,
    InvalidConfig,
    InvalidState,
    MaxRetriesExceeded,
    ResourceExhausted,
    TaskCanceled,
    TimedOut,
)
from beluga_stream.testing.virtual_time import VirtualLoop
from tests.simulation.tasks import Notes, forever, given, virtually


def test_a_task_set_runs_in_the_order_that_dependencies_priorities_and_deadlines_ask_for() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1) as scheduler:
            handles = scheduler.submit_all(
                [
                    notes.task("low", priority=-1),
                    notes.task("first"),
                    notes.task("second"),
                    notes.task("due", deadline=60),
                    notes.task("sooner", deadline=30),
                    notes.task("urgent", priority=9),
                    notes.task("blocked", priority=99, after=["low"]),
                    notes.task("sum", needs=["urgent", "blocked"], priority=5),
                ]
            )
        assert notes.began == ["urgent", "sooner", "due", "first", "second", "low", "blocked", "sum"]
        assert await handles["sum"].result() == "sumurgentblocked"
        assert {handle.state for handle in handles.values()} == {"succeeded"}

    virtually(main)


def test_results_are_given_in_the_order_of_needs_and_before_nothing_else() -> None:
    async def main() -> None:
        async with Scheduler() as scheduler:
            handles = scheduler.submit_all(
                [
                    Task("a", given, 1),
                    Task("b", given, 2),
                    Task("told", given, "own", needs=["b", "a"], after=["c"]),
                    Task("c", given, 3),
                ]
            )
            assert await handles["told"].result() == ("own", (2,), (1,))

    virtually(main)


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        (
            {"a": ["b"], "b": ["c"], "c": ["a"], "d": []},
            r"in a circle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)",
        ),
        ({"a": ["a"]}, "in a circle: a -> a"),
        ({"a": ["x"], "b": []}, "task 'a' depends on 'x', which is none of this set: there are a, b"),
    ],
)
@pytest.mark.parametrize("kind", ["needs", "after"])
async def test_a_cycle_or_an_unknown_dependency_is_named_before_anything_runs(
    tasks: dict[str, list[str]], told: str, kind: str
) -> None:
    notes = Notes()
    async with Scheduler() as scheduler:
        with pytest.raises(InvalidConfig, match=told):
            scheduler.submit_all([notes.task(name, **{kind: others}) for name, others in tasks.items()])
        with pytest.raises(InvalidConfig, match="have one name: a"):
            scheduler.submit_all([notes.task("a"), notes.task("a")])
    assert notes.began == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Task("", forever),
        lambda: Task("x", 3),  # type: ignore[call-overload]
        lambda: Task("x", forever, needs="abc"),
        lambda: Task("x", forever, deadline=0),
        lambda: Task("x", forever, deadline="soon"),  # type: ignore[call-overload]
        lambda: Task("x", forever, needs=5),  # type: ignore[call-overload]
        lambda: Task("x", forever, needs=[5]),  # type: ignore[list-item]
        lambda: Task("x", forever, after=[None]),  # type: ignore[list-item]
        lambda: Task("x", forever, retry=3),  # type: ignore[call-overload]
        lambda: Task("x", forever, retry=0),  # type: ignore[call-overload]
        lambda: Task("x", node(retry=3)(lambda: None)),  # type: ignore[arg-type]
        lambda: Task(3, forever),  # type: ignore[call-overload]
        lambda: Scheduler().submit(forever),  # type: ignore[arg-type]
        lambda: Task("x", forever, priority="high"),  # type: ignore[call-overload]
        lambda: Task("x", forever, priority=float("nan")),  # type: ignore[call-overload]
        lambda: Scheduler(max_workers=0),
        lambda: Scheduler(queue_size=-1),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InvalidConfig):
        wrong()


def test_a_full_scheduler_takes_all_of_a_set_or_nothing() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1, queue_size=2) as scheduler:
            scheduler.submit(notes.task("a"))
            with pytest.raises(ResourceExhausted, match="none of these 3 was taken"):
                scheduler.submit_all([notes.task("b"), notes.task("c"), notes.task("d")])
            scheduler.submit_all([notes.task("b"), notes.task("c")])
            assert scheduler.running + scheduler.waiting == 3
            await scheduler.join()
            scheduler.submit(notes.task("d"))
        assert notes.began == ["a", "b", "c", "d"]

    virtually(main)


def test_a_deadline_ends_what_has_not_begun_and_what_has_not_ended() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1) as scheduler:
            handles = scheduler.submit_all(
                [
                    notes.task("late", deadline=0.5, priority=1),
                    notes.task("never", deadline=0.7),
                    notes.task("after", after=["late"]),
                    notes.task("after that", needs=["after"]),
                    notes.task("other", priority=-1),
                ]
            )
            with pytest.raises(TimedOut, match=r"'late' did not end by its deadline, 0\.5 s after"):
                await handles["late"].result()
            for name, cause in (("after", "late"), ("after that", "after")):
                with pytest.raises(DependencyFailed) as broken:
                    await handles[name].result()
                assert broken.value.ids == {"task": name, "dependency": cause}
        with pytest.raises(TimedOut, match="'never' did not end by its deadline"):
            await handles["never"].result()
        assert (notes.began, notes.stopped) == (["late", "never", "other"], ["late", "never"])
        assert await handles["other"].result() == "other"

    async def waits() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1) as scheduler:
            scheduler.submit(notes.task("long", priority=1))
            never = scheduler.submit(notes.task("never", deadline=0.7))
            with pytest.raises(TimedOut, match="'never' did not begin by its deadline"):
                await never.result()
        assert notes.began == ["long"]

    virtually(main)
    virtually(waits)


def test_a_task_that_fails_takes_along_what_depends_on_it_and_nothing_else() -> None:
    async def main() -> None:
        notes = Notes()

        async def fails() -> None:
            raise OSError("away")

        async with Scheduler(max_workers=2) as scheduler:
            handles = scheduler.submit_all(
                [Task("fails", fails), notes.task("a", after=["fails"]), notes.task("b", needs=["a"]), notes.task("c")]
            )
        with pytest.raises(ExecutionFailed, match="task 'fails' raised OSError: away") as failed:
            await handles["fails"].result()
        assert isinstance(failed.value.__cause__, OSError)
        with pytest.raises(DependencyFailed, match=r"b. did not begin: task .a. did not begin: task .fails. raised"):
            await handles["b"].result()
        assert notes.began == ["c"]
        async with Scheduler() as other:
            with pytest.raises(InvalidConfig, match="of another scheduler"):
                other.submit(notes.task("d", after=[handles["c"]]))

    virtually(main)


def test_what_was_submitted_before_is_named_by_its_handle() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler() as scheduler:
            one = scheduler.submit(notes.task("one"))
            two = scheduler.submit(Task("two", notes.work, "two", needs=[one]))
            assert await two.result() == "twoone"
            three = scheduler.submit(Task("three", notes.work, "three", needs=[two]))
            assert await three.result() == "threetwoone"
            one.cancel()
            lost = scheduler.submit(notes.task("lost"))
            lost.cancel()
            after = scheduler.submit(notes.task("after", after=[lost]))
            with pytest.raises(DependencyFailed):
                await after.result()

    virtually(main)


def test_a_cancelled_task_is_stopped_and_its_place_goes_to_the_next() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1) as scheduler:
            going = scheduler.submit(notes.task("going"))
            waits = scheduler.submit(notes.task("waits"))
            gone = scheduler.submit(notes.task("gone"))
            await asyncio.sleep(0.5)
            assert (going.state, waits.state) == ("running", "ready")
            assert going.cancel()
            assert gone.cancel()
            assert not going.cancel()
            for handle in (going, gone):
                with pytest.raises(TaskCanceled):
                    await handle.result()
                assert handle.state == "canceled"
        assert (notes.began, notes.stopped) == (["going", "waits"], ["going"])

    virtually(main)


def test_tasks_that_were_cancelled_before_they_began_are_not_held_while_workers_are_busy() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1, queue_size=10) as scheduler:
            going = scheduler.submit(Task("going", forever))
            await asyncio.sleep(0)
            for _ in range(200):
                scheduler.submit(Task("gone", forever)).cancel()
            gc.collect()
            assert sum(isinstance(one, Entry) and one.name == "gone" for one in gc.get_objects()) < 50
            going.cancel()
            await scheduler.aclose()

    virtually(main, range(1))


def test_the_handle_of_a_task_does_not_hold_those_before_it_once_it_has_ended() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1) as scheduler:
            last = scheduler.submit(Task("chained", given))
            for number in range(100):
                how = {"needs": [last]} if number % 2 else {"after": [last]}
                last = scheduler.submit(Task("chained", given, **how))
                await last.result()
            gc.collect()
            assert sum(isinstance(one, Entry) and one.name == "chained" for one in gc.get_objects()) < 5

    virtually(main, range(1))


def test_a_task_that_goes_on_does_not_hold_those_that_waited_for_it_and_were_cancelled() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1) as scheduler:
            going = scheduler.submit(Task("going", forever))
            for _ in range(100):
                scheduler.submit(Task("waited", given, after=[going])).cancel()
            gc.collect()
            assert not any(isinstance(one, Entry) and one.name == "waited" for one in gc.get_objects())
            going.cancel()

    virtually(main, range(1))


def test_retries_go_by_retry_and_hold_no_worker_meanwhile() -> None:
    async def main() -> None:
        notes = Notes()
        attempts: list[float] = []

        async def flaky(good: int) -> str:
            attempts.append(asyncio.get_running_loop().time())
            if len(attempts) < good:
                raise OSError("not yet")
            return "done"

        async with Scheduler(max_workers=1) as scheduler:
            handle = scheduler.submit(Task("flaky", flaky, 3, retry=Retry(3, first=4), priority=1))
            scheduler.submit_all([notes.task("a"), notes.task("b")])
            assert await handle.result() == "done"
            assert notes.began == ["a", "b"]
        attempts.clear()
        async with Scheduler() as scheduler:
            handle = scheduler.submit(Task("flaky", node(retry=Retry(2, first=1))(flaky), 3))
            with pytest.raises(MaxRetriesExceeded, match="task 'flaky' failed 2 times, the last time with OSError"):
                await handle.result()
            wrong = scheduler.submit(Task("wrong", flaky, "x", retry=Retry(3)))
            with pytest.raises(ExecutionFailed, match="raised TypeError"):
                await wrong.result()

    virtually(main)


def test_a_task_that_waits_for_another_one_gives_its_worker_to_it() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1) as scheduler:

            async def parent() -> str:
                children = [scheduler.submit(notes.task(f"child {one}")) for one in range(3)]
                return ",".join([await child.result() for child in children])

            assert await scheduler.submit(Task("parent", parent)).result() == "child 0,child 1,child 2"
            both = scheduler.submit_all([Task("p1", parent), Task("p2", parent)])
            assert [await handle.result() for handle in both.values()] == ["child 0,child 1,child 2"] * 2
            assert scheduler.running == scheduler.waiting == 0

    virtually(main)


def test_tasks_that_would_wait_for_each_other_are_told() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=2) as scheduler:
            handles: dict[str, Scheduled[Any]] = {}

            async def asks(other: str) -> None:
                await asyncio.sleep(1)
                await handles[other].result()

            handles.update(
                scheduler.submit_all(
                    [Task("a", asks, "c"), Task("b", forever, after=["a"]), Task("c", forever, after=["b"])]
                )
            )
            with pytest.raises(InvalidState, match="in a circle: a -> c -> b -> a"):
                await handles["a"].result()
            own = handles["own"] = scheduler.submit(Task("own", asks, "own"))
            with pytest.raises(InvalidState, match="in a circle: own -> own"):
                await own.result()

            async def joins() -> None:
                await scheduler.join()

            with pytest.raises(InvalidState, match="waits for all tasks"):
                await scheduler.submit(Task("joins", joins)).result()

    virtually(main)


def test_a_parent_that_is_cancelled_while_it_waits_leaves_the_workers_whole() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler(max_workers=1) as scheduler:

            async def parent() -> str:
                return await scheduler.submit(notes.task("child")).result()

            handle = scheduler.submit(Task("parent", parent))
            await asyncio.sleep(0.5)
            handle.cancel()
            assert await scheduler.submit(notes.task("next")).result() == "next"
            tight = [scheduler.submit(notes.task(f"t{one}")) for one in range(3)]
            began = asyncio.get_running_loop().time()
            for one in tight:
                await one.result()
            assert round(asyncio.get_running_loop().time() - began, 6) == 3

    virtually(main)


async def test_anything_that_can_be_a_step_can_be_a_task() -> None:
    def blocks(number: int) -> str:
        return f"{number} in {'main' if threading.current_thread() is threading.main_thread() else 'a thread'}"

    async def chunks(number: int) -> AsyncIterator[int]:
        for one in range(number):
            yield one

    class Model:
        async def ainvoke(self, number: int) -> int:
            return number + 1

    doubled = chain(lambda number: 2 * number, name="doubled")
    async with Scheduler() as scheduler:
        handles = scheduler.submit_all(
            [
                Task("blocks", blocks, 1),
                Task("chunks", chunks, 3),
                Task("model", Model(), 1),  # type: ignore[call-overload]
                Task("chain", doubled, needs=["model"]),
            ]
        )
        assert [await handle.result() for handle in handles.values()] == ["1 in a thread", [0, 1, 2], 2, 4]


async def test_what_a_task_gives_tells_of_which_kind_its_function_is_whatever_it_stands_around() -> None:
    def chunks(number: int) -> Iterator[int]:
        yield from range(number)

    async def chunks_async(number: int) -> AsyncIterator[int]:
        for one in range(number):
            yield one

    async def chunk(number: int) -> int:
        return number

    def around(function: Callable[[int], Any], made: Callable[[Any], Any]) -> Callable[[int], Any]:
        return functools.wraps(function)(lambda number: made(function(number)))

    async with Scheduler() as scheduler:
        handles = [
            scheduler.submit(Task("task", call, 3))
            for call in (
                around(chunks, sum),
                around(chunks, list),
                around(chunks, iter),
                around(chunks_async, aiter),
                around(chunk, lambda given: given),
                around(chunk, lambda given: given.close() or 7),
            )
        ]
        assert [await handle.result() for handle in handles] == [3, [0, 1, 2], [0, 1, 2], [0, 1, 2], 3, 7]


def test_a_block_that_ends_waits_and_one_that_raises_cancels() -> None:
    async def main() -> None:
        notes = Notes()
        handles = []

        async def raises() -> None:
            async with Scheduler() as scheduler:
                handles.append(scheduler.submit(notes.task("a")))
                await asyncio.sleep(0.5)
                raise KeyError("x")

        with pytest.raises(KeyError):
            await raises()
        assert handles[0].state == "canceled"
        assert notes.stopped == ["a"]
        closed = Scheduler()
        await closed.aclose()
        with pytest.raises(InvalidState, match="closed"):
            closed.submit(notes.task("b"))
        assert len(asyncio.all_tasks()) == 1

    virtually(main)


class Odd(BaseException):
    pass


def raised(error: BaseException) -> None:
    raise error


async def raised_later(error: BaseException) -> None:
    await asyncio.sleep(1)
    raise error


@pytest.mark.parametrize("call", [raised, raised_later])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Odd("odd"), "task 'a' raised Odd: odd"),
        (SystemExit(3), r"task 'a' called sys\.exit\(3\)"),
        (ValueError("no"), "task 'a' raised ValueError: no"),
        (GeneratorExit(), "task 'a' .*raised GeneratorExit"),
    ],
)
def test_whatever_a_task_raises_is_its_failure_and_ends_nothing_else(
    call: Callable[..., Any], error: BaseException, told: str
) -> None:
    async def main() -> None:
        async with Scheduler() as scheduler:
            handle = scheduler.submit(Task("a", call, error))
            with pytest.raises(ExecutionFailed, match=told):
                await handle.result()

    # A thread of its own answers in real time.
    asyncio.run(main()) if call is raised else virtually(main)


def test_an_interrupt_in_a_task_is_nobodys_failure() -> None:
    async def main() -> None:
        async with Scheduler() as scheduler:
            scheduler.submit(Task("a", raised_later, KeyboardInterrupt()))

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(0)) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())


def test_a_failure_that_nobody_asked_for_is_told_when_the_scheduler_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Scheduler() as scheduler:
            asked = scheduler.submit(Task("asked", raised_later, ValueError("a")))
            before = scheduler.submit(Task("before", raised_later, ValueError("b")))
            unheard = scheduler.submit(Task("unheard", raised_later, ValueError("c")))
            scheduler.submit(Task("after it", given, after=[unheard]))
            scheduler.submit(Task("late", forever, deadline=1))
            scheduler.submit(Task("cancelled", forever)).cancel()
            asking = asyncio.create_task(asked.result())
            await scheduler.join()
            for handle in (asking, before.result()):
                with pytest.raises(ExecutionFailed):
                    await handle
            assert caplog.messages == []

    virtually(main, range(1))
    told = "nobody asked for the result of a task that failed"
    assert sorted(caplog.messages) == [
        f"{told}: task 'late' did not end by its deadline, 1 s after it was submitted",
        f"{told}: task 'unheard' raised ValueError: c",
    ]


def test_a_failure_is_told_though_somebody_asked_and_left_before_it_came(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Scheduler() as scheduler:
            left = scheduler.submit(Task("left", raised_later, ValueError("a")))
            both = scheduler.submit(Task("both", raised_later, ValueError("b")))
            staying = asyncio.create_task(both.result())
            for handle in (left, both):
                with pytest.raises(TimedOut):
                    await handle.result(timeout=0.25)
            with pytest.raises(ExecutionFailed):
                await staying
        told = "nobody asked for the result of a task that failed: task 'left' raised ValueError: a"
        assert caplog.messages == [told]
        caplog.clear()

    virtually(main)


def test_failures_that_nobody_asks_for_are_told_in_time_when_there_are_many(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1, queue_size=1) as scheduler:
            for number in range(5):
                scheduler.submit(Task(f"t{number}", raised_later, ValueError("no")))
                await scheduler.join()
            assert len(caplog.messages) == 3

    virtually(main, range(1))
    assert len(caplog.messages) == 5


def test_waiting_for_a_result_can_be_bounded_and_leaves_the_task_alone() -> None:
    async def main() -> None:
        notes = Notes()
        async with Scheduler() as scheduler:
            handle = scheduler.submit(notes.task("a"))
            with pytest.raises(TimedOut, match=r"did not end within 0\.5 s"):
                await handle.result(timeout=0.5)
            assert await handle.result() == "a"
            assert handle.done

    virtually(main)


def test_an_attempt_is_bounded_by_the_timeout_of_its_node() -> None:
    async def main() -> None:
        async with Scheduler() as scheduler:
            handle = scheduler.submit(Task("slow", node(timeout=2)(forever)))
            with pytest.raises(TimedOut, match="an attempt of task 'slow' took longer than 2 s"):
                await handle.result()

    virtually(main)


async def test_an_orchestrator_has_a_scheduler_and_closes_it() -> None:
    orch = Orchestrator(graphs=Defaults(max_workers=1, queue_size=1))
    assert orch.scheduler is orch.scheduler
    handle = orch.scheduler.submit(Task("forever", forever))
    orch.scheduler.submit(Task("waits", forever))
    with pytest.raises(ResourceExhausted):
        orch.scheduler.submit(Task("more", forever))
    await orch.aclose()
    with pytest.raises(TaskCanceled):
        await handle.result()
    with pytest.raises(InvalidState):
        _ = orch.scheduler
    off = Orchestrator(features=Features(scheduler=False))
    with pytest.raises(InvalidState, match="scheduler is switched off"):
        _ = off.scheduler
    await off.aclose()
