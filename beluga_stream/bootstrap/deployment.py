"""What is deployed: the graphs and triggers of `agents/`.

A folder of agents gets one import name, whatever its path, so that a handler is the same object for every
process and child process; it is never installed.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..api.likeness import check_alike
from ..api.work import Work
from ..application.execution.places import place_of
from ..domain.ids import GraphHash
from ..errors import InvalidDeployment, InvalidGraph
from ..ports.handlers import Program, Trigger
from .plain import files_add_to, files_add_to_no_engine
from .settings import Settings

if TYPE_CHECKING:
    import faust

PACKAGE = "beluga_deployment"
"""The import name of the agents folder."""


class Programs:
    """The port `Deployment`, over graphs that are given, and no triggers."""

    def __init__(self, works: Iterable[Work[Any, Any]] = ()) -> None:
        self.programs: dict[GraphHash, Program] = {}
        self.triggers: list[Trigger] = []
        self._latest: dict[str, Program] = {}
        for work in works:
            self.add(work.compile())

    def latest(self, graph: str) -> Program | None:
        return self._latest.get(graph)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that some node names."""
        named = {node.queue for program in self.programs.values() for node in program.definition.nodes}
        return tuple(sorted(named | {"default"}))

    def add(self, program: Program) -> None:
        """Have one more, which is the latest of its name."""
        self._latest[program.definition.name] = program
        self._learn(program)

    def _learn(self, program: Program) -> None:
        self.programs[program.definition.hash] = program
        self._latest.setdefault(program.definition.name, program)
        for child in program.children.values():
            self._learn(child)


class LoadedDeployment(Programs):
    """The port `Deployment`, over the graphs of modules, with their triggers."""

    def __init__(self, works: Iterable[Work[Any, Any]]) -> None:
        super().__init__()
        self.works: dict[str, Work[Any, Any]] = {}
        for work in works:
            program, triggers = work.deploy()
            other = self.works.get(work.name)
            if other is not None and other is not work:
                raise InvalidDeployment(f"two graphs are named {work.name!r}: rename one", graph=work.name)
            self.works[work.name] = work
            self.triggers.extend(triggers)
            self.add(program)
        check_alike(self._latest.values())
        for trigger in self.triggers:
            needed = None if trigger.gathers is None else trigger.gathers.graph
            if needed is not None and needed not in self._latest:
                raise InvalidDeployment(
                    f"graph {trigger.graph!r}: on_missing of its trigger {trigger.name!r} names graph {needed!r}, "
                    f"which is in no file of the deployment: let a variable of a module hold it",
                    graph=trigger.graph,
                )


def load_of(settings: Settings, app: "faust.App | None" = None) -> LoadedDeployment:
    """`load` what these settings name. Where they name nothing it is a folder here, and no package."""
    if not is_named(settings) and not Path(settings.agents).is_dir():
        raise InvalidDeployment(
            f"there is no folder {settings.agents} here: make it, or say by BELUGA_AGENTS where the graphs are",
            agents=settings.agents,
        )
    return load(settings.agents, app)


def is_named(settings: Settings) -> bool:
    """Whether somebody has said where the graphs are."""
    return "agents" in settings.model_fields_set


def load(agents: str, app: "faust.App | None" = None) -> LoadedDeployment:
    """Import every module of a folder or package and take its graphs and chains.

    What its files add to `beluga_stream.app` is added to `app`, or else to none that runs. A module may run asyncio
    while it is imported: where a loop runs here, it gets a thread that has none. What it prints then goes to stderr:
    stdout is the command's, and may be JSON. Raises `InvalidDeployment` naming file and line.
    """
    with files_add_to(app), contextlib.redirect_stdout(sys.stderr):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _load(agents)
        with ThreadPoolExecutor(1, "beluga-deployment") as thread:
            return thread.submit(_load, agents).result()


def _load(agents: str) -> LoadedDeployment:
    works: dict[int, Work[Any, Any]] = {}
    files: dict[str, str] = {}
    for module in _modules(agents):
        for value in vars(module).values():
            if isinstance(value, Work) and id(value) not in works:
                file = str(module.__file__)
                if value.name in files:
                    raise _two(value.name, files[value.name], file)
                works[id(value)], files[value.name] = value, file
    try:
        return LoadedDeployment(works.values())
    except InvalidGraph as error:
        raise InvalidDeployment(f"{files.get(str(error.ids.get('graph')), agents)}: {error}", **error.ids) from error


def _two(name: str, one: str, other: str) -> InvalidDeployment:
    """Two graphs of one name, or one whose file was imported under two names."""
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file in (one, other) and one != other and not _is_ours(module.__name__):
            importer, stem = other if file == one else one, Path(str(file)).stem
            return InvalidDeployment(
                f"{importer}: graph {name!r} is there twice, since its file was also imported as {module.__name__}: "
                f"files of one folder import one another by `from .{stem} import ...`",
                graph=name,
            )
    places = " and ".join(dict.fromkeys((one, other)))
    return InvalidDeployment(f"{places}: two graphs are named {name!r}: rename one", graph=name)


def _is_ours(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


def _modules(agents: str) -> list[ModuleType]:
    folder = Path(agents)
    if _is_folder(folder):
        return _from_folder(folder.resolve())
    if agents.startswith("."):  # a path, and none of a package
        raise _not_there(agents)
    try:
        package = importlib.import_module(agents)
    except ModuleNotFoundError as error:
        raise _not_there(agents) from error
    except (Exception, SystemExit) as error:
        raise _broken(agents, error) from error
    names = [agents]
    for place in getattr(package, "__path__", []):
        names += [f"{agents}.{path.stem}" for path in sorted(Path(place).glob("*.py")) if path.stem != "__init__"]
    return [_imported(name) for name in names]


def _is_folder(folder: Path) -> bool:
    """Whether it is one. Raises `InvalidDeployment` for one that we may not read: `glob` would find nothing there."""
    try:
        if not folder.is_dir():
            return False
        next(folder.iterdir(), None)
    except OSError as error:
        told = f"the folder of graphs, BELUGA_AGENTS={folder}, cannot be read: {error.strerror}"
        raise InvalidDeployment(told, agents=str(folder)) from error
    return True


def _not_there(agents: str) -> InvalidDeployment:
    told = f"BELUGA_AGENTS={agents!r} is neither a folder here nor a package that can be imported"
    return InvalidDeployment(told, agents=agents)


def prepare_child(agents: str) -> None:
    """Make a deployment's modules importable in a child process; each is imported when a call needs it."""
    files_add_to_no_engine()
    folder = Path(agents)
    if folder.is_dir():
        _mount(folder.resolve())


def _from_folder(folder: Path) -> list[ModuleType]:
    """Import a folder's files under the one canonical name; a second load in a process imports them anew."""
    package = _mount(folder)
    return [
        package,
        *(_imported(f"{PACKAGE}.{path.stem}") for path in sorted(folder.glob("*.py")) if path.stem != "__init__"),
    ]


def _mount(folder: Path) -> ModuleType:
    """Let the folder be a package under the canonical name, and import what it has of its own: its `__init__.py`."""
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        PACKAGE, init if init.exists() else None, submodule_search_locations=[str(folder)]
    )
    if spec is None:
        spec = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    package = sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    importlib.invalidate_caches()
    if init.exists() and spec.loader is not None:
        try:
            spec.loader.exec_module(package)
        except (Exception, SystemExit) as error:
            raise _broken(PACKAGE, error) from error
    return package


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception | SystemExit) -> InvalidDeployment:
    """Names the user's file and line, and not the loader's."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
        return InvalidDeployment(f"{place}: syntax error: {error.msg}", file=error.filename, line=error.lineno)
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and _is_ours(name):
        told += _meant(error.name or "")
    origin = place_of(error.__traceback__)
    if isinstance(error, SystemExit):
        # What ends the process may be deep in argparse; the line of the file that begins it is the one to mend.
        origin = place_of(error.__traceback__, of_module=True)
        told = 'it ends the process that imports it: put what is for a program under `if __name__ == "__main__":`'
    file, line = origin or (name, 0)
    return InvalidDeployment(
        f"{file}, line {line}: {told}",
        module=name,
        file=file,
        line=line,
    )


def _meant(missing: str) -> str:
    """How a file of the folder is imported by another one, if it is such a file that is missing; else nothing."""
    folder = Path(sys.modules[PACKAGE].__path__[0])
    first, _, rest = missing.partition(".")
    stem = rest if first == folder.name and rest else first
    if first != folder.name and not (folder / f"{first}.py").exists():
        return ""
    wanted = f".{stem}" if (folder / f"{stem}.py").exists() else ".other"
    return f": files of one folder import one another by `from {wanted} import ...`"
