"""The room plan: a module imports from folders on floors below its own, and touches only what is its own."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import relay
from relay.events import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(relay.__file__).parent
#: From the lowest to the highest: folders, and modules that stand beside them. Nothing imports sideways on a floor.
FLOORS = (
    {"errors", "model", "times", "__init__"},
    {"events", "rules", "driver"},
    {"moodle", "outbox", "config"},
    {"capture", "delivery", "operations", "receivers"},
    {"service"},
    {"demo", "web"},
    {"cli"},
    {"__main__"},
)
#: It is printed for others too, and stands alone.
VERIFIER = "receivers.verifiers.verifier"
#: Who may import what (besides the demo, which builds a whole world).
OWNERS = {
    "pymysql": {"driver"},
    "sqlite3": {"outbox.sqlite_database"},
    "requests": {"delivery.transport"},
    "urllib3": {"delivery.transport"},
    "yaml": {"config.reader", "config.edit"},
    "signal": {"service.daemon"},
    "tenacity": {"service.daemon", "outbox.mysql_database"},
    "structlog": {"service.logs"},
    "random": {"service.parts"},
    "jinja2": {"web.render"},
    "markupsafe": {"web.render"},
    "cheroot": {"web.server"},
    "time": {"service.parts", VERIFIER},
    "cryptography": {"rules.signing", "config.credentials", "operations.plugin", VERIFIER},
}
#: Folders and modules without input or output, clock, randomness, logging.
PURE = ("events", "rules", "model", "errors", "times", "operations.grants", "operations.plugin")
IMPURE = {"os", "time", "random", "socket", "threading", "logging", "pathlib", "subprocess", "secrets", "structlog"}
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py") if path.name != "conftest.py"
)
#: The most lines of a module, unless its docstring says why it has more; and the most of a function.
MODULE_LINES, FUNCTION_LINES = 350, 40


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


@functools.cache
def nodes(module: str) -> list[ast.AST]:
    return list(ast.walk(tree(module)))


def path_of(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def folder(module: str) -> str:
    """Return the folder of a module, or the module itself where it stands beside the folders."""
    return module.split(".", maxsplit=1)[0]


def is_below(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Return every module that a module imports, wherever in it."""
    found: set[str] = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return frozenset(found)


def tops(module: str) -> set[str]:
    """Return the packages that a module imports from."""
    return {name.split(".")[0] for name in imports(module)}


def own(module: str) -> set[str]:
    """Return the modules of relay that a module imports."""
    names = {name.removeprefix("relay.") for name in imports(module) if name.startswith("relay.")}
    found = {name for name in names if name in MODULES}
    # A package stands for its __init__ where a name of it, and not one of its modules, is imported.
    packages = {name for name in names if f"{name}.__init__" in MODULES}
    for package in packages:
        if not any(one.startswith(f"{package}.") for one in found):
            found.add(f"{package}.__init__")
    return found - {module}


def floor(module: str) -> int:
    (found,) = [index for index, names in enumerate(FLOORS) if folder(module) in names]
    return found


def functions(module: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in nodes(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def offences(names: Iterable[str], found: Callable[[str], Iterable[str]]) -> dict[str, set[str]]:
    """Return what is found of these modules that should not be there, by module."""
    return {name: offending for name in names if (offending := set(found(name)))}


def outside(*names: str) -> list[str]:
    """Return the modules that are in none of these folders."""
    return [module for module in MODULES if not is_below(module, names)]


def attributes(module: str) -> set[str]:
    return {node.attr for node in nodes(module) if isinstance(node, ast.Attribute)}


def test_every_folder_has_its_floor() -> None:
    assert {folder(module) for module in MODULES} == set().union(*FLOORS)


def test_a_module_imports_from_its_folder_and_from_floors_below_only() -> None:
    def not_below(module: str) -> set[str]:
        others = {name for name in own(module) if folder(name) != folder(module)}
        return {name for name in others if floor(name) >= floor(module)}

    assert offences(MODULES, not_below) == {}


def test_no_modules_import_each_other() -> None:
    left = {module: own(module) for module in MODULES}
    while free := {module for module, needs in left.items() if not needs & left.keys()}:
        for module in free:
            del left[module]
    assert left == {}, "each of these waits for another one of them"


def test_a_module_touches_only_what_is_its_own() -> None:
    def of_others(module: str) -> set[str]:
        return {name for name in tops(module) if module not in OWNERS.get(name, {module})}

    assert offences(outside("demo"), of_others) == {}


def test_rules_events_and_words_are_pure() -> None:
    assert offences([name for name in MODULES if is_below(name, PURE)], lambda module: tops(module) & IMPURE) == {}


def test_only_faces_print_and_exit() -> None:
    def called(module: str) -> set[str]:
        calls = (node.func for node in nodes(module) if isinstance(node, ast.Call))
        return {function.id for function in calls if isinstance(function, ast.Name)}

    assert offences(outside("cli", "demo"), lambda module: called(module) & {"print", "exit", "input"}) == {}


def test_the_daemon_alone_starts_threads() -> None:
    others = outside("service.daemon", "service.threads", "demo")
    assert offences(others, lambda module: attributes(module) & {"Thread"}) == {}


def test_the_environment_is_read_by_the_config_and_the_command_line() -> None:
    read = {"environ", "getenv"}
    assert offences(outside("cli", "config", "demo"), lambda module: attributes(module) & read) == {}


def test_use_cases_know_no_dialect() -> None:
    cases = [name for name in MODULES if is_below(name, ("capture", "delivery", "operations", "receivers"))]
    dialects = ("outbox.sqlite", "outbox.mysql")
    assert offences(cases, lambda module: {name for name in own(module) if name.startswith(dialects)}) == {}


def test_no_room_is_too_large() -> None:
    sizes = {module: len(path_of(module).read_text().splitlines()) for module in MODULES}
    large = {module for module, lines in sizes.items() if lines > MODULE_LINES}
    assert {module for module in large if "long" not in (ast.get_docstring(tree(module)) or "")} == set()

    def too_long(module: str) -> set[str]:
        lengths = {one.name: (one.end_lineno or 0) - one.lineno + 1 for one in functions(module)}
        return {name for name, lines in lengths.items() if lines > FUNCTION_LINES}

    assert offences(MODULES, too_long) == {}


def test_no_module_outside_of_events_names_a_kind() -> None:
    """A kind that is added comes along by itself: in capture, sync, reconcile, explain, the config, the schema."""
    kinds = catalogue.KINDS.values()
    names = {kind.name for kind in kinds} | {kind.moodle_event for kind in kinds} | set(catalogue.SYNCED)
    tables = {table.table for kind in kinds for table in kind.tables()} - {"user", "course"}

    def named(module: str) -> set[str]:
        texts = {node.value for node in nodes(module) if isinstance(node, ast.Constant)}
        return {str(text) for text in texts & (names | tables)}

    assert offences(outside("events", "demo"), named) == {}
