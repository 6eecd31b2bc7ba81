"""A JSON schema with all that it refers to, so that any place in it can be looked at by itself.

It is kept as the models that wrote it behave (pydantic's): a union with a discriminator demands its tag, and picks one
model by it. Draft 2020-12.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jsonschema_rs

from ..errors import InvalidInput

Tree = bool | dict[str, Any]
"""A schema as JSON."""

_HOME = "#/$defs/"
_PLACES = ("#/$defs/", "#/components/schemas/")
_READ = "read."
_WRITTEN = "written."
_INNER = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MARKS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
    | {"$schema", "$id", "$defs", "definitions"}
)
_CONTENT = ("contentEncoding", "contentMediaType", "contentSchema")
_COMPOSED = frozenset(
    {"$ref", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas", "dependencies", "contains"}
    | {"unevaluatedProperties", "unevaluatedItems", "propertyNames", "$dynamicRef", "$recursiveRef"}
)


@dataclass(frozen=True)
class Schema:
    """`tree`, whose references lead into `definitions`."""

    tree: Tree
    definitions: Mapping[str, Tree] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Any, definitions: Mapping[str, Any] | None = None) -> "Schema":
        """A schema as it was written: definitions are its own, or those of the document that it stands in.

        Raises `InvalidInput` when it is no schema, or when a reference leads nowhere.
        """
        own = tree.get("$defs", {}) if isinstance(tree, dict) else {}
        found = {**(definitions or {}), **own}
        reader = _Reader(found)
        made = cls(reader.read(tree), reader.read_all())
        made.checked()
        return made

    def checked(self) -> None:
        """Raises `InvalidInput` when it is no schema."""
        try:
            jsonschema_rs.Draft202012Validator(self.bundle(self.tree))
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise InvalidInput(f"this is no JSON schema: {error}") from error

    def bundle(self, tree: Tree, *, written: bool = False) -> dict[str, Any]:
        """One place of it as a schema that stands by itself.

        With `written`, it is what a writer writes who knows this schema: each object has no members but those that the
        schema names, unless it says `additionalProperties`. A reader ignores what it does not name.
        """
        definitions = dict(self._read)
        if written:
            definitions |= self._written
            tree = close(tree)
        else:
            tree = _renamed(tree)
        return {"$defs": definitions, "allOf": [tree]}

    @cached_property
    def _read(self) -> dict[str, Tree]:
        return {f"{_READ}{name}": _renamed(tree) for name, tree in self.definitions.items()}

    @cached_property
    def _written(self) -> dict[str, Tree]:
        return {f"{_WRITTEN}{name}": close(tree) for name, tree in self.definitions.items()}

    def resolve(self, tree: Tree) -> Tree:
        """What a place comes to behind references and marks that constrain nothing."""
        names: list[str] = []
        tree = bare(tree)
        while isinstance(tree, dict) and len(tree) == 1:
            if "$ref" in tree and tree["$ref"].removeprefix(_HOME) not in names:
                names.append(tree["$ref"].removeprefix(_HOME))
                tree = bare(self.definitions[names[-1]])
            elif "allOf" in tree and len(tree["allOf"]) == 1:
                tree = bare(tree["allOf"][0])
            else:
                break
        return tree


def bare(tree: Tree) -> Tree:
    """Without what constrains nothing; `{}` is true."""
    if isinstance(tree, bool):
        return tree
    return {name: value for name, value in tree.items() if name not in _MARKS} or True


def is_plain(tree: Tree) -> bool:
    """Whether it says all it says of an object by itself, so that one knows which members a writer gives it."""
    return isinstance(tree, dict) and not tree.keys() & _COMPOSED


def close(tree: Tree) -> Tree:
    """The schema of what is written by it; where schemas are composed in other ways than unions, as it is read."""
    tree = bare(tree)
    if isinstance(tree, bool):
        return tree
    if len(tree) == 1 and tree.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        if "$ref" in tree:
            return {"$ref": f"{_HOME}{_WRITTEN}{tree['$ref'].removeprefix(_HOME)}"}
        # Of a writer's value one branch of `oneOf` holds, and that is all that is made use of.
        name, branches = next(iter(tree.items()))
        if name != "allOf" or len(branches) == 1:
            return {"allOf" if name == "allOf" else "anyOf": [close(each) for each in branches]}
    if not is_plain(tree):
        return _renamed(tree)
    closed = _each(tree, close)
    if "properties" in tree and "additionalProperties" not in tree:
        closed["additionalProperties"] = False
    return closed


def _renamed(tree: Tree) -> Tree:
    """The same, with references to what readers take."""
    if isinstance(tree, bool):
        return tree
    if "$ref" in tree:
        tree = tree | {"$ref": f"{_HOME}{_READ}{tree['$ref'].removeprefix(_HOME)}"}
    return _each(tree, _renamed)


def _each(tree: dict[str, Any], change: Any) -> dict[str, Any]:
    return {name: _changed(name, value, change) for name, value in tree.items()}


def _changed(name: str, value: Any, change: Any) -> Any:
    if name in ("properties", "patternProperties", "dependentSchemas"):
        return {key: change(each) for key, each in value.items()}
    if name in _INNER:
        return [change(each) for each in value]
    if name in _SINGLE:
        return change(value)
    return value


_SINGLE = frozenset(
    {"additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames"}
    | {"unevaluatedProperties", "unevaluatedItems"}
)


class _Reader:
    """Takes a schema as it was written: references get one form, unions by a tag become what they mean."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._given = definitions
        self._read: dict[str, Tree] = {}
        self._needed: list[str] = []

    def read(self, given: Any) -> Tree:
        if not isinstance(given, bool | dict):
            raise InvalidInput(f"this is no JSON schema, but {type(given).__name__}: {str(given)[:60]}")
        if isinstance(given, bool):
            return given
        tree: dict[str, Any] = {name: value for name, value in given.items() if name not in _MARKS}
        if content := {name: tree.pop(name) for name in _CONTENT if name in tree}:
            # Models check it and JSON schema does not: it is compared as a format that nobody knows.
            tree["allOf"] = [*tree.get("allOf", ()), {"format": json.dumps(content, sort_keys=True)}]
        tag = tree.pop("discriminator", None)
        if isinstance(tag, dict):
            tag = tag.get("propertyName")
        if isinstance(tree.get("$ref"), str):
            tree["$ref"] = self._reference(tree["$ref"])
        try:
            tree = _each(tree, self.read)
        except (AttributeError, TypeError) as error:
            raise InvalidInput(f"this is no JSON schema: {str(tree)[:200]}") from error
        if isinstance(tag, str) and "oneOf" in tree:
            branches = [self._tagged(each, tag) for each in tree["oneOf"]]
            if _apart(branches, tag):
                del tree["oneOf"]
                tree["anyOf"] = [self._named(named, each) for named, each in branches]
        return tree

    def read_all(self) -> dict[str, Tree]:
        """Every definition that is needed."""
        while self._needed:
            name = self._needed.pop()
            if name not in self._read:
                self._read[name] = True
                self._read[name] = self.read(self._given[name])
        return self._read

    def _reference(self, ref: str) -> str:
        for place in _PLACES:
            name = ref.removeprefix(place)
            if name != ref:
                if name not in self._given:
                    raise InvalidInput(f"a schema refers to {ref}, which is not there")
                self._needed.append(name)
                return f"{_HOME}{name}"
        raise InvalidInput(f"a schema refers to {ref}: only {' and '.join(_PLACES)} can be followed")

    def _tagged(self, branch: Tree, tag: str) -> tuple[str | None, Any]:
        """A branch with its tag required, by its own name."""
        name = None
        if isinstance(branch, dict) and branch.keys() == {"$ref"}:
            name = branch["$ref"].removeprefix(_HOME)
            branch = self._given[name]
        if isinstance(branch, dict) and "properties" in branch:
            required = [*branch.get("required", ()), *([] if tag in branch.get("required", ()) else [tag])]
            return (None if name is None else f"{name}.by.{tag}"), branch | {"required": required}
        return None, None

    def _named(self, name: str | None, branch: dict[str, Any]) -> Tree:
        if name is None:
            return branch
        if name not in self._read:
            self._read[name] = True
            self._read[name] = self.read(branch)
        return {"$ref": f"{_HOME}{name}"}


def _apart(branches: list[tuple[str | None, Any]], tag: str) -> bool:
    """Whether each branch has tags of its own, so that no value is of two."""
    tags = [each for _, branch in branches for each in _tags(branch, tag)]
    return all(any(True for _ in _tags(branch, tag)) for _, branch in branches) and len(tags) == len(set(tags))


def _tags(branch: Any, tag: str) -> Iterator[str]:
    told = branch["properties"].get(tag, {}) if isinstance(branch, dict) else {}
    if isinstance(told, dict):
        yield from ([repr(told["const"])] if "const" in told else map(repr, told.get("enum", ())))
