"""Whether what one schema lets be written is readable by another, and if not, where and why.

Whether one schema covers another is decided by jsonschema-rs. Where it does not say yes, the reader's schema is taken
apart, place by place, down to what breaks; that is also how models that hold themselves are compared. What cannot be
decided is a break: it is refused rather than let through.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jsonschema_rs
from jsonschema_rs.canonical import CanonicalizationError, Containment

from .schema import Schema, Tree, bare, is_plain
from .specimen import Specimen, specimen

_STEPS_MOST = 5_000
_BREAKS_MOST = 100
"""Of one pair of models, where it is met again."""
_OBJECT = ("properties", "patternProperties", "additionalProperties")
_GROUPS = (
    _OBJECT,
    ("prefixItems", "items"),
    ("contains", "minContains", "maxContains"),
    ("if", "then", "else"),
)
_WHOLE = frozenset({"unevaluatedProperties", "unevaluatedItems"})

_Pair = tuple[str, str, bool]


@dataclass(frozen=True)
class Break:
    """One place where what is written cannot be read.

    `at` is a JSON pointer into the value; `*` stands for any item or member. `written` and `read` are what the two
    schemas say there. `specimen` is a value that may be written and is not read, where one was found. Without one, and
    unless it is `certain`, the schemas could not be compared.
    """

    at: str
    keyword: str
    written: Tree
    read: Tree
    certain: bool
    specimen: Specimen | None = None


def breaks(written: Schema, read: Schema, *, strict: bool = False) -> tuple[Break, ...]:
    """What may be written by one schema and is not read by the other; nothing if all of it is.

    Whoever writes is taken to write no members but those that the schema names, unless `strict`.
    """
    # By what they say: to Python True equals 1, and to a schema it does not.
    if repr(written) == repr(read):
        return ()
    walk = _Walk(written, read)
    found = walk.step(_Place(written.tree, read.tree, "", strict))
    once = {(each.at, each.keyword, repr(each.place.read), repr(each.place.written)): each for each in found}
    return tuple(walk.told(each) for each in once.values())


@dataclass(frozen=True)
class _Place:
    """Two schemas that apply to the same value.

    `strict`: members that are not named may be there. `proven` are the pairs of models that are being compared further
    out, and those in `same` at this very value.
    """

    written: Tree
    read: Tree
    at: str
    strict: bool
    proven: frozenset[_Pair] = frozenset()
    same: frozenset[_Pair] = frozenset()

    def into(self, name: str, written: Tree, read: Tree) -> "_Place":
        """A value inside this one."""
        return _Place(written, read, self.inside(name), self.strict, self.proven)

    def inside(self, name: str) -> str:
        """The pointer to it."""
        return f"{self.at}/{name.replace('~', '~0').replace('/', '~1')}"

    @property
    def pair(self) -> _Pair:
        """What tells it from other places that are compared."""
        return repr(self.written), repr(self.read), self.strict

    def but(self, **changed: Any) -> "_Place":
        return replace(self, **changed)


@dataclass(frozen=True)
class _Found:
    """A break that nothing is told of yet: most are of branches that were only tried."""

    place: _Place
    keyword: str
    at: str

    def moved(self, before: str, now: str) -> "_Found":
        """The same at another place where the same two schemas meet."""
        place = self.place.but(at=now + self.place.at.removeprefix(before))
        return replace(self, at=now + self.at.removeprefix(before), place=place)


class _Walk:
    """Takes two schemas apart together."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self._written = written
        self._read = read
        self._steps = 0
        self._broken: dict[_Pair, tuple[str, list[_Found]]] = {}
        self._covered: dict[_Pair, Containment] = {}
        self._forms: dict[tuple[bool, str, bool], jsonschema_rs.CanonicalSchema] = {}

    def step(self, place: _Place) -> list[_Found]:
        """Every break at this place and below it.

        Sound by induction over how deep a value is: that one place covers another may be taken for granted below it
        once a step into the value was made, and every step that is taken is one that a covered reader bears.
        """
        if self._covers(place) is Containment.YES:
            return []
        pair = place.pair
        if pair in place.proven and pair not in place.same:
            return []
        if pair in self._broken:
            return [each.moved(self._broken[pair][0], place.at) for each in self._broken[pair][1]]
        self._steps += 1
        if pair in place.same or self._steps > _STEPS_MOST:
            return [_Found(place, "", place.at)]
        found = self._apart(place.but(proven=place.proven | {pair}, same=place.same | {pair}))
        if found:
            self._broken[pair] = place.at, found[:_BREAKS_MOST]
        return found

    def _apart(self, place: _Place) -> list[_Found]:
        written, read = self._written.resolve(place.written), self._read.resolve(place.read)
        place = place.but(written=written, read=read)
        if not isinstance(read, dict):
            return [_Found(place, "", place.at)]
        if isinstance(written, dict):
            for union in ("anyOf", "oneOf"):
                if written.keys() == {union}:
                    return self._each(place, written[union])
            if isinstance(written.get("type"), list):
                return self._each(place, [written | {"type": kind} for kind in written["type"]])
            # What is composed is taken as it is read, as `Schema.bundle` does.
            place = place.but(strict=place.strict or not is_plain(written))
        return self._conditions(place)

    def _each(self, place: _Place, branches: list[Tree]) -> list[_Found]:
        return [found for branch in branches for found in self.step(place.but(written=branch))]

    def _conditions(self, place: _Place) -> list[_Found]:
        """A reader's schema is the sum of its conditions: each must be met by itself."""
        found: list[_Found] = []
        for condition in _sum(place.read):
            one = place.but(read=condition)
            if self._covers(one) is not Containment.YES and not self._implied(one):
                found += self._condition(one, condition)
        return found

    def _implied(self, place: _Place) -> bool:
        """Whether one of several schemas that all hold of what is written is enough."""
        if not isinstance(place.written, dict) or "allOf" not in place.written:
            return False
        return any(not self.step(place.but(written=part, strict=True)) for part in place.written["allOf"])

    def _condition(self, place: _Place, read: dict[str, Any]) -> list[_Found]:
        if "$ref" in read:
            return self.step(place)
        if "anyOf" in read:
            return self._branches(place, read["anyOf"])
        if "required" in read:
            return self._required(place, read["required"])
        if read.keys() & set(_OBJECT):
            return self._members(place, read)
        if read.keys() & {"items", "prefixItems"}:
            return self._items(place, read)
        return [_Found(place, next(iter(read)), place.at)]

    def _branches(self, place: _Place, branches: list[Tree]) -> list[_Found]:
        tried = [self.step(place.but(read=branch)) for branch in branches]
        if any(not each for each in tried):
            return []
        # The branch that is meant is the one that differs further in, and not in what it is known by.
        near = [each for each in tried if all(found.at != place.at and found.keyword != "const" for found in each)]
        return near[0] if len(near) == 1 else [_Found(place, "anyOf", place.at)]

    def _required(self, place: _Place, names: list[str]) -> list[_Found]:
        each = {name: place.but(read={"required": [name]}) for name in names}
        return [
            _Found(one, "required", place.inside(name))
            for name, one in each.items()
            if self._covers(one) is not Containment.YES
        ]

    def _members(self, place: _Place, read: dict[str, Any]) -> list[_Found]:
        if read.get("patternProperties"):
            return [_Found(place, "patternProperties", place.at)]
        written = place.written if isinstance(place.written, dict) else {}
        named, wanted = written.get("properties", {}), read.get("properties", {})
        others = self._others(place)
        found: list[_Found] = []
        for name, schema in wanted.items():
            given = named.get(name, others)
            if given is not False:
                found += self.step(place.into(name, given, schema))
        rest = read.get("additionalProperties", True)
        for name, given in named.items():
            if name not in wanted and given is not False:
                found += self._rest(place, name, given, rest)
        return found if others is False else found + self._rest(place, "*", others, rest)

    def _rest(self, place: _Place, name: str, given: Tree, rest: Tree) -> list[_Found]:
        if rest is not False:
            return self.step(place.into(name, given, rest))
        wanted = place.read.get("properties", {}) if isinstance(place.read, dict) else {}
        only = {"properties": dict.fromkeys(wanted, True), "additionalProperties": False}
        return [_Found(place.but(read=only), "additionalProperties", place.inside(name))]

    def _others(self, place: _Place) -> Tree:
        """What members may be that the writer's schema does not name; false if there are none."""
        written = place.written
        if not isinstance(written, dict) or "patternProperties" in written:
            return True
        if "additionalProperties" in written:
            others: Tree = written["additionalProperties"]
            return others
        return place.strict or not is_plain(written) or "properties" not in written

    def _items(self, place: _Place, read: dict[str, Any]) -> list[_Found]:
        written = place.written if isinstance(place.written, dict) else {}
        first, rest = written.get("prefixItems", []), written.get("items", True)
        wanted, others = read.get("prefixItems", []), read.get("items", True)
        most = written.get("maxItems")
        found: list[_Found] = []
        for number in range(max(len(first), len(wanted))):
            given = first[number] if number < len(first) else rest
            schema = wanted[number] if number < len(wanted) else others
            if given is not False and (most is None or number < most):
                found += self.step(place.into(str(number), given, schema))
        longest = max(len(first), len(wanted))
        if rest is not False and (most is None or longest < most):
            found += self.step(place.into("*", rest, others))
        return found

    def _covers(self, place: _Place) -> Containment:
        """Whether all that is written there is read."""
        if place.read is True or place.written is False:
            return Containment.YES
        pair = place.pair
        if pair not in self._covered:
            self._covered[pair] = self._ask(place)
        return self._covered[pair]

    def _ask(self, place: _Place) -> Containment:
        try:
            written = self._form(self._written, place.written, written=not place.strict)
            return self._form(self._read, place.read, written=False).covers(written)
        except (CanonicalizationError, jsonschema_rs.ValidationError):
            return Containment.UNKNOWN

    def _form(self, schema: Schema, tree: Tree, *, written: bool) -> jsonschema_rs.CanonicalSchema:
        key = (schema is self._written, repr(tree), written)
        if key not in self._forms:
            bundle = schema.bundle(tree, written=written)
            self._forms[key] = jsonschema_rs.canonicalize(
                bundle, draft=jsonschema_rs.Draft202012, validate_formats=True
            )
        return self._forms[key]

    def told(self, found: _Found) -> Break:
        """A break as it is told, with a value that shows it if there is one."""
        place = found.place
        written = self._written.bundle(place.written, written=not place.strict)
        shown = specimen(written, self._read.bundle(place.read), place.at)
        certain = shown is not None or self._covers(place) is Containment.NO
        return Break(found.at, found.keyword, _shown(place.written, found.keyword), place.read, certain, shown)


def _sum(tree: Tree) -> Iterator[dict[str, Any]]:
    """The conditions that a schema is the sum of, each a schema by itself."""
    left = bare(tree)
    if isinstance(left, bool):
        return
    if left.keys() & _WHOLE:
        yield left
        return
    left = dict(left)
    for each in left.pop("allOf", ()):
        inner = bare(each)
        yield from _sum({"not": {}} if inner is False else inner)
    for group in _GROUPS:
        together = {name: left.pop(name) for name in group if name in left}
        if together:
            yield together
    for name, value in left.items():
        yield {name: value}


def _shown(tree: Tree, keyword: str) -> Tree:
    """What a schema says of the same matter, as far as it can be told apart."""
    if isinstance(tree, dict) and is_plain(tree) and keyword in tree:
        return {keyword: tree[keyword]}
    return tree
