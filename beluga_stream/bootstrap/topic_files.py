"""What the files of `topics/` declare: the topics of users, in YAML."""

import re
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..errors import InvalidDeployment
from ..ports.log import TopicSpec
from .settings import Settings

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
        return _Topics.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).topics
    except OSError as error:
        raise InvalidDeployment(f"{path} cannot be read: {error.strerror}", file=path) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise InvalidDeployment(f"{path}: {place}: {said}", file=path) from error
    except (yaml.YAMLError, ValueError) as error:  # such as a date of which there is none, or bytes that are no UTF-8
        raise InvalidDeployment(f"{path} is no YAML: {error}", file=path) from error
