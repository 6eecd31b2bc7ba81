"""What a terminal shows: data as it is, whatever it holds, and ids that can be copied."""

import io
import json
import sys

import pytest
from rich.text import Text

from beluga_stream.cli.exits import say_error
from beluga_stream.cli.screen import console, duration, moment_cell, pretty, styled, table


@pytest.mark.parametrize("data", ["a=[/x]", "[7]", "[bold]loud[/bold]", "list indices [/7] :smile:"])
def test_data_is_shown_as_it_is_and_never_taken_for_markup(data: str) -> None:
    shown = table("run", "message")
    shown.add_row("r", data)
    with console.capture() as captured:
        console.print(shown)
        console.print(data)
        console.print(data, style="dim")
    assert captured.get().count(data) == 3


def test_data_does_not_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 160)
    steering = "\x1b[2Jred\x1b]0;title\x07 \x9b2J\x7f\x00\x08\r.\tnext\nline"
    shown = table("run", "message")
    shown.add_row("r", steering)
    with console.capture() as captured:
        console.print(shown)
        console.print(steering)
        console.print(Text(steering, style="red"))
        console.print(pretty({"said": steering}))
    text = captured.get()
    assert {each for each in text if not each.isprintable()} == {"\n"}
    assert text.count("[2Jred]0;title 2J.") == 3
    assert json.loads(text[text.rindex("{") :]) == {"said": steering}


def test_an_error_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("broken: \x1b[2J\x9b2J\nmore", "internal", as_json=False, exit_code=1)
    assert capsys.readouterr().err == "beluga: broken: [2J2J more\n"


@pytest.mark.parametrize(("no_color", "said"), [("1", "beluga: broken\n"), ("", "\x1b[31mbeluga: broken\x1b[0m\n")])
def test_an_error_is_red_on_a_terminal_unless_its_user_wants_no_colours(
    no_color: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stderr", terminal)
    say_error("broken", "internal", as_json=False, exit_code=1)
    assert terminal.getvalue() == said


@pytest.mark.parametrize("width", [50, 80, 160])
def test_an_id_is_never_cut_and_stays_in_one_line_where_there_is_room(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", width)
    run = "9b49ba40c28909f8accb6b65f536abcd"
    shown = table("#run", "graph", "#status", "#started", ">took", "tags")
    shown.add_row(run, "stories", styled("succeeded"), moment_cell(0), duration(1200), "from=me to=somebody-else")
    with console.capture() as captured:
        console.print(shown)
    text = captured.get()
    assert "…" not in text
    first = [line[: len(run)].split(" ")[0] for line in text.splitlines()[1:]]
    assert "".join(first) == run if width == 50 else run in text
