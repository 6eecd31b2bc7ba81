"""Whether a value of one type may go where another is wanted. In doubt, yes: values are checked anyway."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

_ITERABLES = (Iterable, Collection, Sequence, list, tuple, set, frozenset, AbstractSet)
_NUMBERS = {(int, float), (bool, float), (int, complex), (float, complex)}


def unaliased(kind: Any) -> Any:
    """What a `type` statement's name stands for, with its arguments; any other type as it is."""
    while (alias := _alias_of(kind)) is not None:
        value, given = alias.__value__, dict(zip(alias.__type_params__, get_args(kind), strict=False))
        wanted = getattr(value, "__parameters__", ())
        kind = value[tuple(given.get(one, Any) for one in wanted)] if wanted else value
    return kind


def _alias_of(kind: Any) -> Any:
    """The alias that a type is, or is made of; None for another. There are several classes of them, all alike."""
    named = (one for one in (kind, get_origin(kind)) if hasattr(one, "__value__"))
    return next((one for one in named if not isinstance(one.__value__, str)), None)  # a text is for pydantic to read


def members(kind: Any) -> tuple[Any, ...]:
    """The members of a union, flat; of any other type, itself."""
    kind = unaliased(kind)
    if get_origin(kind) is Annotated:
        return members(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(inner for part in get_args(kind) for inner in members(part))
    return (NoneType if kind is None else kind,)


def union(kinds: Iterable[Any]) -> Any:
    """One type for values of any of these."""
    found = tuple(dict.fromkeys(inner for kind in kinds for inner in members(kind)))
    return cast("Any", Union)[found] if found else Any


def list_of(kind: Any) -> Any:
    """The type of a list of them, made at run time."""
    return GenericAlias(list, (kind,))


def shown(kind: Any) -> str:
    """The type as its user wrote it."""
    if get_origin(kind) is not None or not isinstance(kind, type):
        return str(kind).replace("typing.", "")
    return kind.__qualname__


def fits(given: Any, wanted: Any) -> bool:
    """Exact, a subclass, a member of a union, or a container whose items fit."""
    if any(_is_open(kind) for kind in (given, wanted)):
        return True
    return all(any(_member_fits(one, other) for other in members(wanted)) for one in members(given))


def narrow(given: Any, kinds: Iterable[type]) -> Any:
    """The type of a value that is known to be of these kinds too."""
    for kind in kinds:
        found: list[Any] = []
        for one in members(kind):
            found += [part for part in members(given) if not _is_open(part) and fits(part, one)] or [one]
        given = union(found)
    return given


def _member_fits(given: Any, wanted: Any) -> bool:
    if _is_open(given) or _is_open(wanted) or given == wanted or (given, wanted) in _NUMBERS:
        return True
    given_origin, wanted_origin = get_origin(given) or given, get_origin(wanted) or wanted
    if given_origin is Literal:
        return wanted_origin is Literal or any(_member_fits(type(value), wanted) for value in get_args(given))
    if wanted_origin is Literal:
        return any(_member_fits(given, type(value)) for value in get_args(wanted))
    if not (isinstance(given_origin, type) and isinstance(wanted_origin, type)):
        return True
    if given_origin in _ITERABLES and wanted_origin in _ITERABLES:
        return fits(_item_of(given), _item_of(wanted))  # JSON has one kind of list
    try:
        if not issubclass(given_origin, wanted_origin):
            return _is_structural(given_origin, wanted_origin)
    except TypeError:  # a protocol with fields
        return True
    return _arguments_fit(given, wanted, same=given_origin is wanted_origin)


def _is_structural(given: type, wanted: type) -> bool:
    """A dict may become a TypedDict, a model may be read from a mapping: left to the value's own check."""
    return any(issubclass(kind, dict | Mapping) for kind in (given, wanted)) and not any(
        kind in (str, bytes, int, float, bool, NoneType, list) for kind in (given, wanted)
    )


def _item_of(kind: Any) -> Any:
    parts = get_args(kind)
    if not parts:
        return Any
    if get_origin(kind) is tuple:
        return union(part for part in parts if part is not Ellipsis)
    return parts[0]


def _arguments_fit(given: Any, wanted: Any, *, same: bool) -> bool:
    have, want = get_args(given), get_args(wanted)
    if not same or not have or len(have) != len(want):
        return True
    return all(fits(one, other) for one, other in zip(have, want, strict=True))


def item_of(kind: Any) -> Any:
    """The type of a list's items; Any for what is no known list. Of a union, that of its lists."""
    found = [_item_of(part) for part in members(kind) if (get_origin(part) or part) in _ITERABLES]
    return union(found) if found else Any


def is_list(kind: Any) -> bool:
    """Whether a map can go over it, as far as its type tells."""
    return any(_is_open(part) or (get_origin(part) or part) in _ITERABLES for part in members(kind))


def _is_open(kind: Any) -> bool:
    return kind is Any or kind is object or isinstance(kind, (TypeVar, str)) or kind is Ellipsis
