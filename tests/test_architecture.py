"""The room plan: a module imports from floors below its own only, and touches only what is its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import relay

ROOT = Path(relay.__file__).parent
#: From the lowest to the highest. What stands on one floor does not import from each other.
FLOORS = [
    {"errors", "model", "__init__"},
    {"times", "clean", "cursor", "retry", "signing", "grants", "plugin"},
    {"payload", "credentials"},
    {"config.reader", "config.schema", "moodle_sql", "sender", "daemon", "server", "outbox.base", "outbox.__init__"},
    {"outbox.rows", "outbox.statements", "outbox.mysql_statements"},
    {"outbox.sql"},
    {"outbox.mysql_lease", "outbox.mysql_database"},
    {"config.__init__", "moodle", "outbox.sqlite", "outbox.mysql"},
    {"capture", "dispatch", "doctor", "status", "sync", "explain", "move"},
    {"repair"},
    {"parts"},
    {"app"},
    {"demo.mariadb", "demo.moodle", "demo.show", "demo.backend"},
    {"demo.life"},
    {"demo.__init__"},
    {"cli.parser", "cli.views"},
    {"cli.commands"},
    {"cli.__init__"},
    {"__main__"},
]
#: Who may import what (besides the demo, which builds a whole world).
OWNERS = {
    "pymysql": {"server", "moodle", "outbox.mysql_database"},
    "sqlite3": {"outbox.sqlite"},
    "requests": {"sender"},
    "urllib3": {"sender"},
    "yaml": {"config.reader"},
    "signal": {"daemon"},
    "tenacity": {"daemon", "outbox.mysql_database"},
    "structlog": {"parts"},
    "random": {"parts"},
    "cryptography": {"signing", "credentials", "plugin"},
}
#: Pure: no input or output, no clock, no randomness, no logging.
PURE = {"times", "clean", "cursor", "retry", "signing", "payload", "model", "errors", "grants", "plugin"}
IMPURE = {"os", "time", "random", "socket", "threading", "logging", "pathlib", "subprocess", "secrets", "structlog"}
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py") if path.name != "conftest.py"
)


def tree(module: str) -> ast.Module:
    return ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())


def imports(module: str) -> set[str]:
    """Return every module that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


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
    (found,) = [index for index, modules in enumerate(FLOORS) if module in modules]
    return found


def test_every_module_has_its_floor() -> None:
    assert set(MODULES) == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_floors_below_only(module: str) -> None:
    above = {name for name in own(module) if floor(name) >= floor(module)}
    assert above == set()


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("demo")])
def test_a_module_touches_only_what_is_its_own(module: str) -> None:
    tops = {name.split(".")[0] for name in imports(module)}
    assert {name for name in tops if module not in OWNERS.get(name, {module})} == set()


@pytest.mark.parametrize("module", sorted(PURE))
def test_rules_and_words_are_pure(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)} & IMPURE == set()


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(("cli", "demo"))])
def test_only_faces_print_and_exit(module: str) -> None:
    called = {
        node.func.id
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"print", "exit", "input"} == set()


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name not in ("cli.__init__", "cli.commands", "credentials", "demo.mariadb")]
)
def test_the_environment_is_read_in_two_places(module: str) -> None:
    read = {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    assert read & {"environ", "getenv"} == set()


def test_use_cases_know_no_dialect() -> None:
    for module in ("capture", "dispatch", "repair", "status", "doctor"):
        assert own(module) & {"outbox.sqlite", "outbox.mysql"} == set()
