"""What can be a step: functions of any kind, and objects with `invoke`, which chains, graphs and LangChain's are."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

A = TypeVar("A")
B = TypeVar("B")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@runtime_checkable
class Runnable(Protocol[A_contra, R_co]):
    """Something that runs on an input, on many, or step by step; each method sync or async.

    What a chain or graph is, and what may be a step of one. LangChain's runnables are called by `ainvoke`.
    """

    def invoke(self, input: A_contra, /) -> Awaitable[R_co] | R_co:  # noqa: A002 - LangChain's name
        """The result for one input."""
        raise NotImplementedError

    def batch(self, inputs: Iterable[Any], /) -> Any:
        """The results for many, in their order."""
        raise NotImplementedError

    def stream(self, input: A_contra, /) -> Any:  # noqa: A002 - LangChain's name
        """What comes of it, as it comes."""
        raise NotImplementedError


class Invocable(Protocol[A_contra, R_co]):
    """The one method that a step needs."""

    def invoke(self, input: A_contra, /) -> Awaitable[R_co] | R_co: ...  # noqa: A002 - LangChain's name


class AsyncInvocable(Protocol[A_contra, R_co]):
    """One that is awaited."""

    def invoke(self, input: A_contra, /) -> Awaitable[R_co]: ...  # noqa: A002 - LangChain's name


class SyncInvocable(Protocol[A_contra, R_co]):
    """One that is not."""

    def invoke(self, input: A_contra, /) -> R_co: ...  # noqa: A002 - LangChain's name


Step: TypeAlias = Callable[[A], Awaitable[B] | B] | Invocable[A, B]
"""Any step but the last."""

LastStreams: TypeAlias = Callable[[A], AsyncIterator[B] | Iterator[B]]
"""A last step that streams: the result is the list of its chunks."""

LastAsync: TypeAlias = Callable[[A], Awaitable[B]] | AsyncInvocable[A, B]
LastSync: TypeAlias = Callable[[A], B] | SyncInvocable[A, B]
