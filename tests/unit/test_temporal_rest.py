"""A program that has spoken to Temporal ends when the threads of the SDK's core have nothing more to tell it."""

import hashlib
import threading

import pytest

from beluga_stream.adapters.temporal import core


def test_a_thread_that_works_without_the_interpreter_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_REST_SECONDS", 60.0)  # however busy the machine is
    much = bytes(16 << 20)
    ended = threading.Event()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        for _ in range(8):
            hashlib.sha256(much).digest()  # lets go of the interpreter meanwhile
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10)
    core._rest()
    assert ended.is_set()
    thread.join(10)


def test_threads_that_only_wait_are_not() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(30,))
    thread.start()
    try:
        assert any(not core._others_run() for _ in range(1000))  # others of this process may have work at times
    finally:
        end.set()
        thread.join(10)
