"""What the files of `topics/` declare: the topics of users, in YAML."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from ..domain.misspelt import instead
from ..errors import InvalidDeployment
from ..ports.log import TopicSpec
from .settings import Settings

_WANTED = {
    "name": "up to 249 letters, digits, '.', '_' and '-'",
    "partitions": "a whole number, 1 to 10,000",
    "replication": "a whole number, 1 to 9",
    "retention": "a whole number with ms, s, m, h or d, as 7d",
    "cleanup": "delete or compact",
    "config": "settings of Kafka's, each value in quotes",
}
"""The keys of a topic, and how what they take is said."""

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class DeclaredTopic(BaseModel):
    """One topic of a file; docs/triggers.md tells what each key means."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    partitions: int | None = Field(None, ge=1, le=10_000)
    retention: str = Field("7d", pattern=r"^\d+(ms|s|m|h|d)$")
    cleanup: str = Field("delete", pattern="^(delete|compact)$")
    replication: int | None = Field(None, ge=1, le=9)
    config: dict[str, str] = Field(default_factory=dict)

    @field_validator("config")
    @classmethod
    def _numbers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, given in value.items():
            if name.endswith((".ms", ".bytes")) and not re.fullmatch(r"-?\d+", given):
                raise ValueError(f"{name} must be a whole number, and is {given!r}")
        return value

    def spec(self, settings: Settings) -> TopicSpec:
        number, unit = re.fullmatch(r"(\d+)(\w+)", self.retention).groups()  # type: ignore[union-attr]  # the pattern holds
        retention = str(int(number) * _UNITS_MS[unit])
        config = {"retention.ms": retention, "cleanup.policy": self.cleanup, **self.config}
        partitions = self.partitions or settings.partitions
        return TopicSpec(self.name, partitions, config, self.replication or settings.replication)


class _Topics(BaseModel):
    """One file of `topics/`."""

    model_config = ConfigDict(extra="forbid")

    topics: list[DeclaredTopic]


def load_topics(settings: Settings) -> list[TopicSpec]:
    """The topics that the YAML files of `BELUGA_TOPICS` declare. Raises `InvalidDeployment` naming file and place.

    The folder may be missing where nobody has named one.
    """
    folder = settings.topics
    if not folder.is_dir() and (folder.exists() or "topics" in settings.model_fields_set):
        raise InvalidDeployment(f"BELUGA_TOPICS={folder} is no folder: name the one with the declarations", file=folder)
    found: dict[str, TopicSpec] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        for topic in _read(path):
            if topic.name in found:
                raise InvalidDeployment(f"{path} declares topic {topic.name!r} a second time", file=path)
            found[topic.name] = topic.spec(settings)
    return list(found.values())


def _read(path: Path) -> list[DeclaredTopic]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDeployment(f"{path} cannot be read: {error.strerror}", file=path) from error
    except (yaml.YAMLError, ValueError) as error:  # such as a date of which there is none, or bytes that are no UTF-8
        raise InvalidDeployment(f"{path} is no YAML: {error}", file=path) from error
    try:
        return _Topics.model_validate(document).topics
    except ValidationError as error:
        raise InvalidDeployment(f"{path}: {_misfit(error, document)}", file=path) from error


def _misfit(error: ValidationError, document: Any) -> str:
    """The first thing that is not as docs/triggers.md says, and what would be."""
    first = error.errors(include_url=False)[0]
    match first["loc"]:
        case ("topics", int(index), str(key), *rest):
            return f"{_named(document, index)}: {_misfit_of(key, rest, first)}"
        case ("topics", int(index)):
            return f"{_named(document, index)} has no keys: begin it with `name:`"
        case _:
            return "this is no list of topics: give `topics:`, and under it `- name: ...` for each"


def _misfit_of(key: str, rest: Sequence[int | str], first: ErrorDetails) -> str:
    match first["type"]:
        case "missing":
            return f"it has no {key}"
        case "extra_forbidden":
            return f"there is no key {key!r}: {instead(key, _WANTED)}"
        case "value_error":
            return f"{key}: {first['msg'].removeprefix('Value error, ')}"
        case _:
            place = ".".join((key, *map(str, rest)))
            return f"{place}: {first['input']!r} does not fit: give {_WANTED[key]}"


def _named(document: Any, index: int) -> str:
    topic = document["topics"][index]
    name = topic.get("name") if isinstance(topic, dict) else None
    return f"topic {name!r}" if isinstance(name, str) else f"number {index + 1} of the topics"
