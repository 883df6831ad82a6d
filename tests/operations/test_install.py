"""What `relay install` writes, and `relay uninstall` removes; on whole machines, tests/fresh.sh tries it."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from relay.cli.commands.install import wanted
from relay.errors import RelayError, UsageError
from relay.operations import install
from relay.operations.install import Target, targets

UNITS = ("relay.service", "relay@.service", "relay-web.service", "relay-web@.service")
PROGRAM = Path(sys.executable).parent / "relay"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """What is installed, on a machine that is a folder, with what it ran of the system's commands beside it."""
    monkeypatch.setattr(install, "program", lambda: PROGRAM)
    found = [replace(one, path=_below(tmp_path, one.path)) for one in wanted()]
    for name in ("BASE", "UNITS", "ADMINISTRATORS_UNITS", "CONFIG", "STATE"):
        monkeypatch.setattr(install, name, _below(tmp_path, getattr(install, name)))
    (tmp_path / "usr/local/share/man").mkdir(parents=True)
    (tmp_path / "usr/local/bin").mkdir()

    def record(*command: str) -> None:
        with (tmp_path / "done").open("a") as file:
            file.write(f"{' '.join(command)}\n")

    monkeypatch.setattr(install, "_do", record)
    return found


def _below(folder: Path, path: Path) -> Path:
    return folder / path.relative_to("/")


def test_it_writes_all_and_once_more_nothing(there: list[Target], tmp_path: Path) -> None:
    assert len(list(install.install(there))) == len(there)
    assert all(one.path.exists() for one in there)
    assert list(install.install(there)) == []
    modes = {one.path.name: stat.S_IMODE(one.path.stat().st_mode) for one in there if not one.is_link}
    assert modes.pop("relay-service") == 0o755
    assert set(modes.values()) == {0o644}
    assert (tmp_path / "usr/local/bin/relay").readlink() == PROGRAM
    assert "systemd-sysusers relay.conf\nsystemd-tmpfiles --create relay.conf\n" in (tmp_path / "done").read_text()


def test_an_upgrade_writes_what_has_changed(there: list[Target]) -> None:
    list(install.install(there))
    unit = next(one for one in there if one.path.name == "relay.service")
    unit.path.write_text("of an older relay")
    unit.path.chmod(0o600)
    assert list(install.install(there)) == [f"{unit.path} is written."]
    assert unit.path.read_text() == unit.text
    assert stat.S_IMODE(unit.path.stat().st_mode) == 0o644


def test_a_unit_of_the_administrators_own_is_named_and_stays(there: list[Target], tmp_path: Path) -> None:
    own = tmp_path / "etc/systemd/system/relay.service"
    own.parent.mkdir(parents=True)
    own.write_text("with changes")
    (said,) = [line for line in install.install(there) if not line.endswith("is written.")]
    assert str(own) in said
    assert "systemctl edit relay" in said
    assert own.read_text() == "with changes"


def test_nothing_is_left_where_it_is_uninstalled_with_its_data(there: list[Target], tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.name != "done"}
    list(install.install(there))
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    for name in ("relay.service", "relay@amman.service", "relayd.service"):
        (wants / name).symlink_to("/usr/local/lib/systemd/system/relay.service")
    for folder in ("etc/relay/amman", "var/lib/relay", "etc/systemd/system/relay@amman.service.d"):
        (tmp_path / folder).mkdir(parents=True)
    list(install.uninstall(there, with_data=False))
    assert (tmp_path / "etc/relay/amman").exists()
    assert "systemctl disable --quiet relay.service relay@amman.service\n" in (tmp_path / "done").read_text()
    (wants / "relay.service").unlink()
    list(install.uninstall(there, with_data=True))
    left = {path for path in tmp_path.rglob("*") if path.name not in ("done", "etc", "var", "lib")} - before
    assert {path.name for path in left} == {"systemd", "system", wants.name, "relayd.service", "relay@amman.service"}


def test_a_command_that_is_there_already_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one of pipx."""
    link = tmp_path / "relay"
    monkeypatch.setattr(install, "COMMAND", link)
    assert [one.text for one in targets(PROGRAM, {}) if one.is_link] == [str(PROGRAM)]
    link.symlink_to(PROGRAM)
    assert [one.text for one in targets(PROGRAM, {}) if one.is_link] == [str(PROGRAM)]
    link.unlink()
    link.symlink_to("/opt/pipx/bin/relay")
    assert [one for one in targets(PROGRAM, {}) if one.is_link] == []


def test_a_relay_that_the_service_could_not_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "relay").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with pytest.raises(UsageError, match="is not open to its user") as refused:
        install.program()
    assert "/opt/relay" in refused.value.hint
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere/python3"))
    with pytest.raises(UsageError, match="There is no `relay` beside"):
        install.program()


def test_what_the_system_says_is_told() -> None:
    with pytest.raises(RelayError, match=r"`sh -c .*` has failed: no such luck"):
        install._do("sh", "-c", "echo no such luck >&2; exit 3")
    with pytest.raises(RelayError, match="cannot be run"):
        install._do("no-such-command-at-all")


def test_who_is_not_root_is_told(there: list[Target], tmp_path: Path) -> None:
    (tmp_path / "usr/local/lib").touch()
    with pytest.raises(RelayError, match="cannot be written") as refused:
        list(install.install(there))
    assert refused.value.hint == "Run it as root."


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize("unit", [*UNITS, "relay-web.socket", "relay-web@.socket", "relay-failed@.service"])
def test_systemd_takes_the_units_and_finds_them_tight(unit: str, tmp_path: Path) -> None:
    for one in targets(PROGRAM, {}):
        if one.path.parent == install.UNITS:
            (tmp_path / one.path.name).write_text(one.text)
    path = tmp_path / unit.replace("@.", "@amman.")
    if path.name != unit:
        path.symlink_to(unit)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "relay" in line]
    assert (done.returncode, ours) == (0, [])
    if unit in UNITS:
        tight = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(path)]
        assert subprocess.run(tight, capture_output=True, check=False).returncode == 0


def test_what_differs_from_site_to_site_differs_in_its_template() -> None:
    texts = {one.path.name: one.text for one in targets(Path("/elsewhere/bin/relay"), {})}
    for unit, template in install.TEMPLATES.items():
        assert "%i" not in texts[unit].replace("%in", "")
        assert "/opt/relay/" not in texts[unit]
        lines = [line for line in texts[template].splitlines() if not line.startswith("# ")]
        for word in ("/etc/relay", "StateDirectory=", "/run/relay-web/", "relay-web@"):
            assert all("%i" in line for line in lines if word in line), word
