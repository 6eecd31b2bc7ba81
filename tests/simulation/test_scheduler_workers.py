"""Workers of a scheduler: tasks that wait for others lend theirs, and none is lost or lent twice whatever they do."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from beluga_stream import Retry, Scheduled, Scheduler, Task
from beluga_stream.errors import BelugaError, MaxRetriesExceeded, TimedOut
from beluga_stream.testing.virtual_time import VirtualLoop
from tests.simulation.tasks import Notes, forever, virtually


def in_the_end_all_workers_are_free(
    name: str, workers: int, body: Callable[[Scheduler], Coroutine[Any, Any, None]]
) -> None:
    """After this body as many tasks go on at a time as there are workers, and no more."""

    async def main() -> None:
        async with Scheduler(max_workers=workers) as scheduler:
            await body(scheduler)
            await scheduler.join()
            began = asyncio.get_running_loop().time()
            notes = Notes()
            scheduler.submit_all([notes.task(f"{name} {number}") for number in range(2 * workers)])
            await scheduler.join()
            assert round(asyncio.get_running_loop().time() - began, 6) == 2

    virtually(main)


def test_a_task_that_ends_before_a_part_of_it_has_its_worker_back_keeps_none() -> None:
    async def body(scheduler: Scheduler) -> None:
        async def looks(handle: Scheduled[Any]) -> str:
            await asyncio.wait({asyncio.create_task(handle.result())}, timeout=1.5)
            return "no later"

        source = scheduler.submit(Task("source", asyncio.sleep, 1))
        looking = scheduler.submit(Task("looks", looks, source, priority=1))
        scheduler.submit(Task("goes on", asyncio.sleep, 2))
        assert await looking.result() == "no later"

    in_the_end_all_workers_are_free("looks", 1, body)


def test_parts_of_a_task_that_wait_one_after_the_other_have_one_worker() -> None:
    async def body(scheduler: Scheduler) -> None:
        async def asks_later(handle: Scheduled[Any], seconds: float) -> None:
            await asyncio.sleep(seconds)
            await handle.result()

        async def asks(*handles: Scheduled[Any]) -> None:
            await asyncio.gather(*(asks_later(handle, 0.75 * number) for number, handle in enumerate(handles)))

        asked = [scheduler.submit(Task(f"a{seconds}", asyncio.sleep, seconds)) for seconds in (0.5, 1)]
        scheduler.submit(Task("asks", asks, *asked, priority=1))
        scheduler.submit_all([Task(f"go on {number}", asyncio.sleep, 3) for number in range(2)])

    in_the_end_all_workers_are_free("parts", 2, body)


def test_a_part_that_outlives_its_attempt_takes_no_worker_for_the_next() -> None:
    async def body(scheduler: Scheduler) -> None:
        async def leaves(handle: Scheduled[Any], left: "set[asyncio.Task[Any]]") -> None:
            left.add(asyncio.create_task(handle.result()))
            await asyncio.sleep(0.1)
            raise OSError("again")

        source = scheduler.submit(Task("source", asyncio.sleep, 1))
        leaving = Task("leaves", leaves, source, set(), retry=Retry(3, first=2, most=2), priority=1)
        with pytest.raises(MaxRetriesExceeded):
            await scheduler.submit(leaving).result()

    in_the_end_all_workers_are_free("attempt", 1, body)


def test_a_bounded_wait_inside_a_task_keeps_its_time_and_what_comes_then_may_be_waited_for() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1) as scheduler:
            told = asyncio.Event()

            async def waits() -> str:
                await told.wait()
                return "told"

            async def asks(handle: Scheduled[str]) -> str:
                began = asyncio.get_running_loop().time()
                with pytest.raises(TimedOut, match=r"'waits' did not end within 0\.5 s"):
                    await handle.result(timeout=0.5)
                assert round(asyncio.get_running_loop().time() - began, 6) == 0.5
                assert scheduler.running == 2
                told.set()
                return await handle.result()

            waiting = scheduler.submit(Task("waits", waits))
            assert await scheduler.submit(Task("asks", asks, waiting, priority=1)).result() == "told"

    virtually(main)


def test_a_result_that_is_there_is_given_though_the_time_is_up_before_a_worker_is_free() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1) as scheduler:

            async def asks(handle: Scheduled[str]) -> tuple[str, float]:
                return await handle.result(timeout=1.5), asyncio.get_running_loop().time()

            source = scheduler.submit(Task("source", asyncio.sleep, 1, "there"))
            asking = scheduler.submit(Task("asks", asks, source, priority=1))
            scheduler.submit(Task("goes on", asyncio.sleep, 9))
            value, when = await asking.result()
            assert (value, round(when, 6)) == ("there", 1.5)

    virtually(main)


def test_a_task_that_tidies_up_after_its_end_lends_its_worker_while_it_waits() -> None:
    async def main() -> None:
        async with Scheduler(max_workers=1) as scheduler:
            notes = Notes()
            seen: list[str] = []

            async def tidies() -> None:
                try:
                    await forever()
                finally:
                    seen.append(await later.result())

            scheduler.submit(Task("tidies", tidies, deadline=1, priority=1))
            later = scheduler.submit(notes.task("later"))
        assert seen == ["later"]

    virtually(main)


class Crowd:
    """Tasks that do what chance says: they work, wait for others in every way, and are cancelled and cut short."""

    def __init__(self, seed: int, *, cut_short: bool) -> None:
        self._chance = random.Random(seed)
        self._cut_short = cut_short
        self.workers = self._chance.randint(1, 3)
        self.scheduler = Scheduler(max_workers=self.workers)
        self.handles: list[Scheduled[Any]] = []
        self.busy = self.busiest = 0

    async def run(self) -> None:
        async with self.scheduler:
            for number in range(12):
                options: dict[str, Any] = {"priority": self._chance.randint(0, 2)}
                if self.handles and self._chance.random() < 0.3:
                    options["after"] = self._chance.sample(self.handles, 1)
                if self._cut_short and self._chance.random() < 0.3:
                    options["deadline"] = self._moment() or 1
                if self._chance.random() < 0.3:
                    options["retry"] = Retry(2, first=self._moment())
                before = self.handles[:]
                self.handles.append(self.scheduler.submit(Task(f"t{number}", self._live, before, **options)))
                await asyncio.sleep(self._chance.choice((0, 0, 0.5)))
            if self._cut_short:
                for handle in self._chance.sample(self.handles, 3):
                    await asyncio.sleep(self._moment())
                    handle.cancel()
            await self.scheduler.join()
            assert self.scheduler.running == self.scheduler.waiting == 0
            assert self._cut_short or self.busiest <= self.workers
            self.busiest = 0
            self.scheduler.submit_all([Task(f"last {number}", self._work) for number in range(2 * self.workers)])
            await self.scheduler.join()
            assert self.busiest == self.workers

    def _moment(self) -> float:
        return self._chance.randint(0, 8) / 4

    async def _work(self, seconds: float = 1) -> None:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.busy -= 1

    async def _live(self, others: "list[Scheduled[Any]]") -> None:
        for _ in range(3):
            await self._work(self._moment())
            chosen = self._chance.sample(others, min(len(others), self._chance.randint(0, 3)))
            if self._cut_short and chosen and self._chance.random() < 0.5:
                await self._looks(chosen)
            else:
                await asyncio.gather(*(self._asks(other, self._moment()) for other in chosen))
        if self._chance.random() < 0.2:
            raise OSError("it fails")

    async def _asks(self, other: Scheduled[Any], before: float) -> None:
        if self._chance.random() < 0.5:  # else at once, before any other part waits
            await asyncio.sleep(before)
        with contextlib.suppress(BelugaError):
            await other.result(timeout=self._moment() if self._cut_short else None)

    async def _looks(self, others: "list[Scheduled[Any]]") -> None:
        parts = {asyncio.create_task(self._asks(other, self._moment())) for other in others}
        _, pending = await asyncio.wait(parts, timeout=self._moment())
        if self._chance.random() < 0.5:
            for part in pending:
                part.cancel()


@pytest.mark.parametrize("cut_short", [False, True], ids=["whole", "cut short"])
def test_workers_come_back_whatever_tasks_do_and_no_more_of_them_work_at_a_time(*, cut_short: bool) -> None:
    for seed in range(150):
        crowd = Crowd(seed, cut_short=cut_short)
        with asyncio.Runner(loop_factory=lambda seed=seed: VirtualLoop(seed)) as runner:  # type: ignore[misc]
            runner.run(crowd.run())


async def test_blocking_tasks_that_wait_for_another_one_take_no_thread_from_those_that_go_on() -> None:
    loop, go, waiting = asyncio.get_running_loop(), asyncio.Event(), asyncio.Semaphore(0)

    async def source() -> int:
        await go.wait()
        return 7

    async with Scheduler(max_workers=2) as scheduler:
        handle = scheduler.submit(Task("source", source))

        def asks() -> int:
            asked = asyncio.run_coroutine_threadsafe(handle.result(), loop)
            loop.call_soon_threadsafe(waiting.release)
            return asked.result(60)

        asking = [scheduler.submit(Task(f"asks {number}", asks)) for number in range(6)]
        async with asyncio.timeout(30):
            for _ in asking:
                await waiting.acquire()
            go.set()
            assert [await one.result() for one in asking] == [7] * 6
