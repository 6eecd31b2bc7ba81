"""Ready graphs of agents: who speaks when, what ends them, and what is wrong input."""

import asyncio
import threading
import time
from typing import Any

import pytest

from beluga_stream import NodeChanged, Retry, chain
from beluga_stream.errors import InvalidConfig, InvalidGraph, InvalidInput, RunFailed
from beluga_stream.patterns import (
    Assign,
    Board,
    Budget,
    Finish,
    Handoff,
    Plan,
    Progress,
    Reply,
    Source,
    Transcript,
    Usage,
    Verdict,
    as_agent,
    blackboard,
    debate,
    evaluator,
    handoff,
    plan_execute,
    router,
    scatter_gather,
    supervisor,
)

SOON = Retry(3, first=0.001, most=0.001)
ONCE = Retry(1)


def speakers(transcript: Transcript) -> list[str]:
    return [turn.speaker for turn in transcript.turns]


# ------------------------------------------------------------------------------ agents that block


def test_agents_that_hang_hold_up_no_other_and_not_the_end_of_the_program() -> None:
    gate = threading.Event()

    def hangs(transcript: Transcript) -> str:
        gate.wait(60)
        return "at last"

    async def main() -> str | None:
        bad = handoff("bad", {"a": hangs}, start="a", timeout=0.1, retry=ONCE)
        ended = await asyncio.gather(*(bad.invoke("x") for _ in range(40)), return_exceptions=True)
        assert all(isinstance(one, RunFailed) and one.reason == "timeout" for one in ended), ended
        return (await handoff("good", {"a": lambda _: "fine"}, start="a", timeout=30).invoke("x")).answer

    began = time.monotonic()
    try:
        assert asyncio.run(main()) == "fine"
        assert time.monotonic() - began < 50
    finally:
        gate.set()


# ------------------------------------------------------------------------------------------- router


def language(text: str) -> str:
    return "french" if "bonjour" in text else "english" if "hello" in text else "klingon"


async def french(text: str) -> str:
    return f"fr {text}"


def english(text: str) -> str:
    return f"en {text}"


async def test_a_router_lets_the_chosen_route_run_and_no_other() -> None:
    desk = router("desk", language, {"french": french, "english": english})
    assert await desk.invoke("hello you") == "en hello you"
    ran = {e.node async for e in desk.stream("bonjour") if isinstance(e, NodeChanged) and e.status == "succeeded"}
    assert ran == {"route", "to_french", "french", "result"}


async def test_a_route_may_be_a_chain() -> None:
    routes = {"french": chain(french, english, name="both"), "english": english}
    desk = router("desk", language, routes, retry=SOON, timeout=30)
    assert await desk.invoke("bonjour") == "en fr bonjour"


async def test_a_choice_that_is_no_route_means_otherwise_or_fails_without_a_retry() -> None:
    routes = {"french": french, "english": english}
    assert await router("desk", language, routes, otherwise="english").invoke("nuqneH") == "en nuqneH"
    with pytest.raises(RunFailed, match="no 'klingon': there are 'french', 'english'") as failed:
        await router("desk", language, routes, retry=SOON).invoke("nuqneH")
    assert failed.value.ids["attempt"] == "1"


@pytest.mark.parametrize("name", ["route", "result", "to_a"])
def test_a_route_with_a_name_that_the_router_has_itself_is_refused_as_such(name: str) -> None:
    with pytest.raises(InvalidGraph, match=rf"routes\['{name}'\] has the name of a node of the pattern itself"):
        router("desk", lambda text: "a", {"a": str.title, name: str.upper})


@pytest.mark.parametrize("name", ["done", "gather"])
def test_an_agent_with_a_name_that_the_pattern_has_itself_is_refused_as_such(name: str) -> None:
    with pytest.raises(InvalidGraph, match=rf"agents\['{name}'\] has the name of a node of the pattern itself"):
        scatter_gather("asked", {"a": str.title, name: str.upper}, str)


def test_who_takes_part_is_told_by_name() -> None:
    with pytest.raises(InvalidGraph, match="workers= is a list: give a mapping by names"):
        supervisor("team", lambda transcript: Finish(answer=""), [str.upper])  # type: ignore[arg-type]
    with pytest.raises(InvalidGraph, match="workers= wants one at least, each with a name, a text"):
        supervisor("team", lambda transcript: Finish(answer=""), {1: str.upper})  # type: ignore[dict-item]


def test_a_router_without_routes_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="routes="):
        router("desk", language, {})
    with pytest.raises(InvalidInput, match="no 'latin'"):
        router("desk", language, {"french": french}, otherwise="latin")


@pytest.mark.parametrize("choose", [lambda *texts: "english", lambda: "english", lambda text, other: "english"])
def test_who_chooses_a_route_must_take_the_input(choose: Any) -> None:
    with pytest.raises(InvalidGraph, match="choose= must take one parameter"):
        router("desk", choose, {"english": english})


async def test_a_router_checks_the_input_by_the_type_of_who_chooses() -> None:
    with pytest.raises(InvalidInput):
        await router("desk", language, {"english": english}).invoke(7)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- scatter and gather


async def length(text: str) -> int:
    return len(text)


def words(text: str) -> int:
    return len(text.split())


async def broken(text: str) -> int:
    raise ConnectionError("no answer")


def total(found: dict[str, int]) -> int:
    return sum(found.values())


async def test_agents_are_asked_at_once_and_their_answers_gathered_by_name() -> None:
    both = asyncio.Barrier(2)

    async def one(text: str) -> str:
        await both.wait()
        return f"1 {text}"

    async def two(text: str) -> str:
        await both.wait()
        return f"2 {text}"

    def gather(found: dict[str, str]) -> dict[str, str]:
        return found

    asked = scatter_gather("asked", {"one": one, "two": two}, gather, run_timeout=10)
    assert await asked.invoke("x") == {"one": "1 x", "two": "2 x"}


async def test_some_answers_may_be_enough() -> None:
    agents = {"length": length, "broken": broken, "words": words}
    assert await scatter_gather("some", agents, total, at_least=2, retry=ONCE).invoke("a b") == 5
    with pytest.raises(RunFailed, match=r"2 of 3 agents answered, 3 are needed .*broken.*no answer"):
        await scatter_gather("all", agents, total, retry=ONCE).invoke("a b")


async def test_an_agent_may_be_a_graph_whose_nodes_have_options_of_their_own() -> None:
    agents = {"length": length, "words": chain(words, name="counted")}
    assert await scatter_gather("some", agents, total, retry=SOON, timeout=30).invoke("a b") == 5


@pytest.mark.parametrize("at_least", [0, 3, "1"])
def test_more_answers_than_agents_are_refused(at_least: Any) -> None:
    with pytest.raises(InvalidGraph, match="give 1 to 2"):
        scatter_gather("some", {"length": length, "words": words}, total, at_least=at_least)


# --------------------------------------------------------------------------------------- supervisor


def decide(transcript: Transcript) -> Assign | Finish:
    done = speakers(transcript)
    if "writer" in done:
        return Finish(answer=transcript.turns[-1].text)
    return Assign(to="writer" if "researcher" in done else "researcher", task=f"step {len(done)}")


async def researcher(transcript: Transcript) -> Reply:
    return Reply(text=f"facts on {transcript.task}", usage=Usage(tokens=40, cost=0.5))


def writer(transcript: Transcript) -> str:
    return f"text of {len(transcript.turns)} turns"


async def test_a_supervisor_gives_out_the_work_until_it_is_done() -> None:
    team = supervisor("team", decide, {"researcher": researcher, "writer": writer})
    ended = await team.invoke("tea")
    assert (ended.stopped, ended.answer) == ("answered", "text of 3 turns")
    assert speakers(ended) == ["supervisor", "researcher", "supervisor", "writer"]
    assert ended.usage == Usage(tokens=40, cost=0.5)


async def test_each_turn_is_an_execution_of_its_own_with_its_own_retries() -> None:
    failures = iter([ConnectionError("away"), None, None])

    async def flaky(transcript: Transcript) -> str:
        if error := next(failures):
            raise error
        return "facts"

    team = supervisor("team", decide, {"researcher": flaky, "writer": writer}, retry=SOON)
    ended = await team.invoke("tea")
    assert speakers(ended) == ["supervisor", "researcher", "supervisor", "writer"]


async def test_a_worker_that_is_not_there_fails_the_turn_without_a_retry() -> None:
    def wrong(transcript: Transcript) -> Assign | Finish:
        return Assign(to="nobody", task="x")

    with pytest.raises(RunFailed, match="no 'nobody': there are 'writer'") as failed:
        await supervisor("team", wrong, {"writer": writer}, retry=SOON).invoke("tea")
    assert failed.value.ids["attempt"] == "1"


async def test_turns_are_bounded() -> None:
    def never(transcript: Transcript) -> Assign | Finish:
        return Assign(to="writer", task="again")

    ended = await supervisor("team", never, {"writer": writer}, max_turns=5).invoke("tea")
    assert (ended.stopped, len(ended.turns), ended.answer) == ("turns", 5, None)
    with pytest.raises(InvalidGraph, match="max_turns=0"):
        supervisor("team", never, {"writer": writer}, max_turns=0)


@pytest.mark.parametrize("budget", [Budget(tokens=100), Budget(cost=1.5)])
async def test_a_budget_ends_the_talk_with_what_there_is(budget: Budget) -> None:
    def again(transcript: Transcript) -> Assign | Finish:
        return Assign(to="researcher", task="more")

    ended = await supervisor("team", again, {"researcher": researcher}, budget=budget).invoke("tea")
    assert (ended.stopped, ended.usage) == ("budget", Usage(tokens=120, cost=1.5))
    assert speakers(ended)[-1] == "researcher"


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="more than 0"):
        Budget(tokens=0)
    with pytest.raises(InvalidConfig, match="more than 0"):
        Budget(cost=float("nan"))
    with pytest.raises(InvalidConfig, match=r"Budget\(tokens='3'\): give a number"):
        Budget(tokens="3")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "build",
    [
        lambda: debate("g", {"a": speak}, speak, budget=5),  # type: ignore[arg-type]
        lambda: plan_execute("g", plan, execute, conclude, budget=5),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_budget_is_refused(build: Any) -> None:
    with pytest.raises(InvalidGraph, match=r"graph 'g': budget=5 is no Budget: give Budget\(tokens=...\)"):
        build()


# ------------------------------------------------------------------------------------------ handoff


async def test_a_task_is_handed_on_until_somebody_answers() -> None:
    def reception(transcript: Transcript) -> Handoff | str:
        return Handoff(to="billing", text="about money", usage=Usage(tokens=1))

    async def billing(transcript: Transcript) -> Reply:
        return Reply(text=f"answer to {transcript.turns[-1].text}", usage=Usage(tokens=2))

    desk = handoff("desk", {"reception": reception, "billing": billing}, start="reception")
    ended = await desk.invoke("refund")
    assert (ended.answer, ended.stopped) == ("answer to about money", "answered")
    assert (speakers(ended), ended.usage.tokens) == (["reception", "billing"], 3)


async def test_a_handoff_in_circles_ends() -> None:
    def back(transcript: Transcript) -> Handoff:
        return Handoff(to="b" if transcript.next in (None, "a") else "a", text="yours")

    ended = await handoff("circle", {"a": back, "b": back}, start="a", max_turns=4).invoke("x")
    assert (speakers(ended), ended.stopped) == (["a", "b", "a", "b"], "turns")


async def test_a_handoff_to_nobody_fails() -> None:
    def lost(transcript: Transcript) -> Handoff:
        return Handoff(to="nobody", text="")

    with pytest.raises(RunFailed, match="no 'nobody'"):
        await handoff("desk", {"a": lost}, start="a").invoke("x")
    with pytest.raises(InvalidInput, match="no 'b'"):
        handoff("desk", {"a": lost}, start="b")


# ------------------------------------------------------------------------------------------- debate


async def test_debaters_speak_in_turns_and_the_judge_concludes() -> None:
    def yes(transcript: Transcript) -> str:
        return f"yes {len(transcript.turns)}"

    def no(transcript: Transcript) -> Reply:
        return Reply(text=f"no {len(transcript.turns)}", usage=Usage(tokens=10))

    async def judge(transcript: Transcript) -> str:
        return f"{transcript.turns[-1].text} wins"

    ended = await debate("debate", {"yes": yes, "no": no}, judge, rounds=2).invoke("tea?")
    assert speakers(ended) == ["yes", "no", "yes", "no", "judge"]
    assert (ended.answer, ended.stopped) == ("no 3 wins", "answered")
    short = await debate("debate", {"yes": yes, "no": no}, judge, rounds=9, budget=Budget(tokens=5)).invoke("tea?")
    assert (speakers(short), short.stopped, short.answer) == (["yes", "no", "judge"], "budget", "no 1 wins")


def test_a_bound_is_refused_by_the_name_that_it_has() -> None:
    async def no(transcript: Transcript) -> str:
        return "no"

    async def fine(transcript: Transcript) -> Verdict:
        return Verdict(accepted=True)

    for wrong in ("3", 2.5):
        with pytest.raises(InvalidGraph, match=f"graph 'd': rounds={wrong!r} must be at least 1, and whole"):
            debate("d", {"no": no}, no, rounds=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidGraph, match=r"graph 'd': rounds=0 must be at least 1"):
        debate("d", {"no": no}, no, rounds=0)
    with pytest.raises(InvalidGraph, match=r"graph 'e': max_drafts=0 must be at least 1"):
        evaluator("e", no, fine, max_drafts=0)


# ---------------------------------------------------------------------------------------- evaluator


def draft(transcript: Transcript) -> str:
    return (
        f"draft {len(transcript.turns) // 2 + 1} after {transcript.turns[-1].text if transcript.turns else 'nothing'}"
    )


async def test_drafts_are_mended_until_one_is_accepted() -> None:
    async def strict(transcript: Transcript) -> Verdict:
        accepted = len(transcript.turns) >= 3
        return Verdict(accepted=accepted, feedback="" if accepted else "shorter", usage=Usage(tokens=3))

    ended = await evaluator("essay", draft, strict).invoke("tea")
    assert (ended.answer, ended.stopped, ended.usage.tokens) == ("draft 2 after shorter", "answered", 6)


async def test_the_last_draft_is_the_answer_when_none_is_accepted() -> None:
    def never(transcript: Transcript) -> Verdict:
        return Verdict(accepted=False, feedback="no")

    ended = await evaluator("essay", draft, never, max_drafts=2).invoke("tea")
    assert (ended.answer, ended.stopped) == ("draft 2 after no", "turns")


# --------------------------------------------------------------------------------------- blackboard


def add(key: str, value: Any) -> Any:
    def contribute(board: Board) -> dict[str, Any]:
        return {key: value}

    return contribute


async def test_sources_contribute_when_they_can_until_it_is_solved() -> None:
    sources = {
        "last": Source(add("c", 3), when=lambda board: "b" in board.facts),
        "second": Source(add("b", 2), when=lambda board: "a" in board.facts),
    }
    solve = blackboard("solve", sources, solved=lambda board: "c" in board.facts)
    ended = await solve.invoke({"a": 1})
    assert (ended.facts, ended.history, ended.stopped) == ({"a": 1, "b": 2, "c": 3}, ("second", "last"), "solved")


async def test_facts_are_what_becomes_json() -> None:
    def of(fact: Any) -> Any:
        source = Source(lambda board: {"fact": fact})
        return blackboard("case", {"ann": source}, solved=lambda board: "fact" in board.facts, retry=SOON)

    board = await of([Usage(tokens=1), (2, 3)]).invoke({})
    assert board.facts == {"fact": [{"tokens": 1, "cost": 0.0}, [2, 3]]}
    with pytest.raises(RunFailed, match=r"sources\['ann'\]\.contribute gave what cannot become JSON: .*object"):
        await of(object()).invoke({})


async def test_a_board_on_which_nobody_can_go_on_is_stuck() -> None:
    same = blackboard("solve", {"same": Source(add("a", 1)), "other": Source(add("b", 1))}, solved=lambda board: False)
    ended = await same.invoke({"a": 1})
    assert (ended.stopped, ended.history) == ("stuck", ("same", "other", "same", "other"))


async def test_a_fact_that_json_does_not_have_is_new_once() -> None:
    nothing = Source(lambda board: {"n": float("nan")})
    ended = await blackboard("solve", {"nothing": nothing}, solved=lambda board: False).invoke({})
    assert (ended.facts, ended.history, ended.stopped) == ({"n": None}, ("nothing", "nothing"), "stuck")


async def test_whether_a_source_can_and_whether_it_is_solved_may_be_async() -> None:
    async def never(board: Board) -> bool:
        return False

    async def has_b(board: Board) -> bool:
        return "b" in board.facts

    sources = {"never": Source(add("c", 3), when=never), "b": Source(add("b", 2))}
    ended = await blackboard("solve", sources, solved=has_b).invoke({"a": 1})
    assert (ended.history, ended.stopped) == (("b",), "solved")


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(InvalidGraph, match=r"sources\['a'\] is a function: give Source\(contribute\)"):
        blackboard("solve", {"a": add("a", 1)}, solved=lambda board: True)


async def test_contributions_are_bounded() -> None:
    def count(board: Board) -> dict[str, Any]:
        return {"n": len(board.history)}

    ended = await blackboard("n", {"count": Source(count)}, solved=lambda board: False, max_turns=3).invoke({})
    assert (ended.stopped, ended.facts) == ("turns", {"n": 2})


# ----------------------------------------------------------------------------------- plan and execute


async def plan(task: str) -> list[str]:
    return [] if task == "nothing" else ["find", "write"]


def execute(progress: Progress) -> Reply:
    return Reply(text=f"{progress.todo[0]} after {len(progress.done)}", usage=Usage(tokens=5))


async def conclude(progress: Progress) -> str:
    return ", ".join(done.result for done in progress.done) or "nothing to do"


async def test_a_plan_is_done_step_by_step_and_concluded() -> None:
    ended = await plan_execute("work", plan, execute, conclude).invoke("tea")
    assert (ended.answer, ended.stopped, ended.usage.tokens) == ("find after 0, write after 1", "done", 10)
    assert [done.step for done in ended.done] == ["find", "write"]


async def test_a_plan_without_steps_is_concluded_at_once() -> None:
    ended = await plan_execute("work", plan, execute, conclude).invoke("nothing")
    assert (ended.answer, ended.done, ended.stopped) == ("nothing to do", (), "done")


async def test_a_plan_and_what_becomes_of_it_count_what_they_took() -> None:
    def planned(task: str) -> Plan:
        return Plan(steps=("find", "write"), usage=Usage(tokens=100))

    async def replanned(progress: Progress) -> Plan:
        return Plan(steps=progress.todo, usage=Usage(tokens=10))

    ended = await plan_execute("work", planned, execute, conclude, replan=replanned).invoke("tea")
    assert ([done.step for done in ended.done], ended.usage.tokens) == (["find", "write"], 100 + 2 * (5 + 10))
    spent = await plan_execute("work", planned, execute, conclude, budget=Budget(tokens=100)).invoke("tea")
    assert (spent.done, spent.stopped, spent.answer) == ((), "budget", "nothing to do")


async def test_a_replan_that_fails_is_asked_again_and_the_step_not_taken_again() -> None:
    taken: list[str] = []
    failures = iter([ConnectionError("away"), None, None])

    def pay(progress: Progress) -> Reply:
        taken.append(progress.todo[0])
        return execute(progress)

    def replan(progress: Progress) -> tuple[str, ...]:
        if error := next(failures):
            raise error
        return progress.todo

    ended = await plan_execute("work", plan, pay, conclude, replan=replan, retry=SOON).invoke("tea")
    assert (taken, ended.usage.tokens, ended.stopped) == (["find", "write"], 10, "done")


async def test_a_plan_may_change_after_each_step() -> None:
    def replan(progress: Progress) -> list[str]:
        return ["check"] if len(progress.done) == 1 else []

    ended = await plan_execute("work", plan, execute, conclude, replan=replan).invoke("tea")
    assert [done.step for done in ended.done] == ["find", "check"]


async def test_steps_and_their_budget_are_bounded() -> None:
    def more(progress: Progress) -> list[str]:
        return ["again"]

    ended = await plan_execute("work", plan, execute, conclude, replan=more, max_steps=4).invoke("tea")
    assert (len(ended.done), ended.stopped) == (4, "steps")
    spent = await plan_execute("work", plan, execute, conclude, replan=more, budget=Budget(tokens=10)).invoke("tea")
    assert (len(spent.done), spent.stopped) == (2, "budget")
    with pytest.raises(InvalidGraph, match="max_steps=0"):
        plan_execute("work", plan, execute, conclude, max_steps=0)


# ------------------------------------------------------------------------------ what cannot be called


async def speak(transcript: Transcript) -> str:
    return "a"


SPOKEN: Any = chain(speak)


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: supervisor("g", SPOKEN, {"a": speak}), "decide"),
        (lambda: supervisor("g", speak, {"a": SPOKEN}), r"workers\['a'\]"),
        (lambda: handoff("g", {"a": SPOKEN}, start="a"), r"agents\['a'\]"),
        (lambda: debate("g", {"a": SPOKEN}, speak), r"debaters\['a'\]"),
        (lambda: debate("g", {"a": speak}, SPOKEN), "judge"),
        (lambda: evaluator("g", SPOKEN, SPOKEN), "generate"),
        (lambda: evaluator("g", speak, SPOKEN), "evaluate"),
        (lambda: plan_execute("g", SPOKEN, SPOKEN, SPOKEN), "plan"),
        (lambda: blackboard("g", {"a": Source(SPOKEN)}, solved=bool), r"sources\['a'\].contribute"),
        (lambda: scatter_gather("g", {"a": speak}, SPOKEN), "gather"),
        (lambda: router("g", SPOKEN, {"a": speak}), "choose"),
    ],
)
def test_what_a_turn_would_call_and_cannot_is_refused_when_it_is_built(build: Any, what: str) -> None:
    with pytest.raises(
        InvalidGraph, match=f"{what} is a Chain, which cannot be called: give a function, as its .invoke"
    ):
        build()


async def test_a_pattern_speaks_as_an_agent_of_another_one() -> None:
    essay = evaluator("essay", draft, lambda _: Verdict(accepted=True, usage=Usage(tokens=7)))
    steps = plan_execute("steps", plan, execute, conclude)

    def lead(transcript: Transcript) -> Assign | Finish:
        to = {0: "writer", 2: "planner"}.get(len(transcript.turns))
        return Assign(to=to, task=f"for the {to}") if to else Finish(answer="done")

    team = supervisor("team", lead, {"writer": as_agent(essay), "planner": as_agent(steps)})
    ended = await team.invoke("tea")
    said = [turn.text for turn in ended.turns]
    assert said == ["for the writer", "draft 1 after nothing", "for the planner", "find after 0, write after 1"]
    assert ended.usage.tokens == 7 + 2 * 5


async def test_what_an_agent_asks_of_its_graph_is_the_last_thing_said_or_what_it_makes() -> None:
    def echo(text: str) -> Reply:
        return Reply(text=f"<{text}>", usage=Usage(tokens=1))

    def quoted(text: str) -> str:
        return f"'{text}'"

    debaters = {"a": as_agent(chain(echo, name="echo"))}
    judge = as_agent(chain(quoted, name="quoted"), task=lambda said: f"{said.task}: {said.turns[-1].text}")
    ended = await debate("g", debaters, judge, rounds=2).invoke("tea")
    assert [turn.text for turn in ended.turns] == ["<tea>", "<<tea>>", "'tea: <<tea>>'"]
    assert ended.usage.tokens == 2


async def test_a_graph_that_gives_no_answer_fails_its_agents_turn() -> None:
    endless = handoff("endless", {"a": lambda _: Handoff(to="a", text="")}, start="a", max_turns=1)
    with pytest.raises(RunFailed, match="graph 'endless' ended without an answer: stopped='turns'") as failed:
        await handoff("g", {"a": as_agent(endless)}, start="a", retry=SOON).invoke("tea")
    assert failed.value.ids["attempt"] == "1"
    with pytest.raises(RunFailed, match="graph 'number': it gave int, and must give"):
        await handoff("g", {"a": as_agent(chain(length, name="number"))}, start="a", retry=SOON).invoke("tea")
    with pytest.raises(InvalidGraph, match=r"as_agent\(\) is for graphs and chains: a function is an agent as it is"):
        as_agent(speak)  # type: ignore[arg-type]


async def test_a_chain_speaks_by_its_invoke() -> None:
    ended = await handoff("g", {"a": SPOKEN.invoke}, start="a").invoke("tea")
    assert ended.answer == "a"


# ------------------------------------------------------------------------- what gives the wrong thing


def gives(value: Any) -> Any:
    return lambda _: value


async def chunks(transcript: Transcript) -> Any:
    yield "a"


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        (supervisor("g", gives({"to": "a"}), {"a": speak}), "decide gave dict, and must give Assign or Finish"),
        (supervisor("g", gives(None), {"a": speak}), "decide gave None, and must give Assign or Finish"),
        (
            supervisor("g", gives(Assign(to="a", task="x")), {"a": gives(None)}),
            r"workers\['a'\] gave None, and must give Reply or str",
        ),
        (
            handoff("g", {"a": gives(7)}, start="a"),
            r"agents\['a'\] gave int, and must give Reply or Handoff or str",
        ),
        (handoff("g", {"a": chunks}, start="a"), r"agents\['a'\] gave async_generator, and must give"),
        (debate("g", {"a": gives(None)}, speak), r"debaters\['a'\] gave None, and must give Reply or str"),
        (debate("g", {"a": speak}, gives(None)), "judge gave None, and must give Reply or str"),
        (evaluator("g", gives(None), gives(None)), "generate gave None, and must give Reply or str"),
        (evaluator("g", speak, gives(1)), "evaluate gave int, and must give Verdict"),
        (router("g", gives(["a"]), {"a": speak}), "choose gave list, and must give str"),
        (
            blackboard("g", {"a": Source(gives(None))}, solved=lambda _: False),
            r"sources\['a'\].contribute gave None, and must give Mapping",
        ),
        (plan_execute("g", gives("ab"), gives("x"), gives("x")), "plan gave str, and must give Plan or a list of"),
        (plan_execute("g", gives(None), gives("x"), gives("x")), "plan gave None, and must give Plan or a list of"),
        (plan_execute("g", gives([1]), gives("x"), gives("x")), "plan gave list, and must give Plan or a list of"),
        (plan_execute("g", gives(["a"]), gives(7), gives("x")), "execute gave int, and must give Reply or str"),
        (plan_execute("g", gives([]), gives("x"), gives(7)), "conclude gave int, and must give Reply or str"),
        (
            plan_execute("g", gives(["a"]), gives("x"), gives("x"), replan=gives("ab")),
            "replan gave str, and must give Plan or a list of",
        ),
    ],
)
async def test_who_gives_the_wrong_thing_is_named_and_not_asked_again(pattern: Any, told: str) -> None:
    with pytest.raises(RunFailed, match=told) as failed:
        await pattern.invoke({} if "dict" in str(pattern.input_kind) else "tea")
    assert (failed.value.reason, failed.value.ids["attempt"]) == ("invalid_input", "1")
