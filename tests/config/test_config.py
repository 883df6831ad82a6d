"""The config: all mistakes at once, each with its path and line; secrets by reference, masked."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import config, times
from relay.config import credentials, files, schema
from relay.config.credentials import Secret
from relay.errors import ConfigError, UsageError
from relay.events.catalogue import KINDS

if TYPE_CHECKING:
    from harness import Relay

MINIMAL = """
moodle: {url: https://moodle.example.edu, database: {name: moodle, user: relay}}
backend: {url: https://backend.example.edu, token: made-up}
"""
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
HERE = Path("config.yaml")


def mistakes(text: str, path: Path = HERE) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, path=path)
    return list(caught.value.mistakes)


def test_the_defaults_are_those_of_the_contract() -> None:
    found = config.parse(MINIMAL, path=HERE)
    assert found.enabled
    assert found.moodle.poll_interval == 0.5
    assert found.moodle.start_from == "now"
    assert (found.moodle.database.host, found.moodle.database.port) == ("localhost", 3306)
    assert found.moodle.database.prefix == found.outbox.prefix == "mdl_"
    assert (found.backend.timeout, found.backend.concurrency, found.backend.tenant_id) == (30, 8, "default")
    assert (found.retry.max_attempts, found.retry.first_delay, found.retry.multiplier) == (24, 5, 2)
    assert found.retry.max_delay == 6 * 3600
    assert all(found.events.enabled(event_type) for event_type, kind in KINDS.items() if kind.is_default)
    assert found.events.ignore_actors == ()
    assert [(str(least), grade) for least, grade in found.btec.bands] == [
        ("70", "Distinction"),
        ("60", "Merit"),
        ("40", "Pass"),
        ("0", "Refer"),
    ]
    assert found.outbox.sqlite_path == Path("/var/lib/relay/outbox.db")
    assert found.log == schema.LogConfig(level="info", format="auto")


def test_the_example_shows_every_key_with_its_default(tmp_path: Path) -> None:
    """Uncommented, the example must parse; and its defaults must be the real ones."""
    lines = EXAMPLE.read_text().split("\n")
    given_only = config.parse(secrets_of("\n".join(lines), tmp_path), path=tmp_path / "config.yaml")
    keys = re.compile(r"^(\s*)# ([a-z_]+: .*|[a-z_]+:)$")
    everything = "\n".join(keys.sub(r"\1\2", line) for line in lines if "unix_socket" not in line)
    (tmp_path / "proxy").write_text("http://proxy.example:3128")
    for name in ("ca.pem", "client.pem", "client.key", "backend-ca.pem", "outbox-password"):
        (tmp_path / name).write_text("made up")
    found = config.parse(secrets_of(everything, tmp_path), path=tmp_path / "config.yaml")
    for section in ("enabled", "retry", "events", "btec", "log", "status"):
        assert getattr(found, section) == getattr(given_only, section), section
    assert found.backend.timeout == given_only.backend.timeout
    assert found.outbox.url == given_only.outbox.url


def secrets_of(text: str, folder: Path) -> str:
    """Return the text with its files in a folder, and make those."""
    for name, value in (("database-password", "p"), ("backend-token", "t"), ("signing-key", "whsec_bWFkZSB1cA==")):
        (folder / name).write_text(value)
    return text.replace("/etc/relay/", f"{folder}/")


def test_eight_mistakes_are_eight_lines_and_exit_2(relay: Relay) -> None:
    text = """moodle:
  url: moodle.example.edu
  database: {name: moodle, user: relay, port: 70000, prefix: "m'; DROP"}
  poll_interval: 500
backend:
  url: http://backend.example.edu
  token: {fiel: /etc/relay/token}
  timout: 5s
retry: {max_attempts: many}
"""
    path = relay.folder / "wrong.yaml"
    path.write_text(text)
    relay.write = lambda: path  # type: ignore[method-assign] # this file instead of its own
    finished = relay.run("run", "--once", expect=2)
    _, *lines, hint = finished.stderr.splitlines()
    found = [re.match(r"  ([a-z_.]+): .* \(line (\d)\)$", line) for line in lines]
    assert [one and (one[1], int(one[2])) for one in found] == [
        ("moodle.url", 2),
        ("moodle.database.port", 3),
        ("moodle.database.prefix", 3),
        ("moodle.poll_interval", 4),
        ("backend.url", 6),
        ("backend.token", 7),
        ("backend.timout", 8),
        ("retry.max_attempts", 9),
    ]
    assert "did you mean timeout?" in finished.stderr
    assert "config.example.yaml" in hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["moodle.url: is missing", "backend.token: is missing"]),
        ("- a\n- b\n", ["the config: must be a mapping"]),
        (MINIMAL + "enabled: 7", ["enabled: must be true or false"]),
        (MINIMAL + "btec: {A: 90}", ["btec.A: must be 0"]),
        (MINIMAL + "btec: {A: high, B: 0}", ["btec.A: must be a score"]),
        (MINIMAL + "outbox: {url: 'sqlite://outbox.db'}", ["outbox.url: must be sqlite:///path"]),
        (MINIMAL + "outbox: {url: 'mysql://u:p@h/s'}", ["outbox.url: must not hold a password"]),
        (MINIMAL + "log: {level: loud}", ["log.level: must be one of"]),
        (MINIMAL + "events: {grade_updated: {role: actual}}", ["events.grade_updated.role: is no known key"]),
        (MINIMAL + "events: {ignore_actors: [3, bob]}", ["events.ignore_actors[1]: must be a whole number"]),
        (MINIMAL + "retry: {enabled: true}\nretry: {enabled: false}", ["retry: is given twice"]),
        (MINIMAL.replace("token: made-up", 'token: "a\\nb"'), ["backend.token: must be a text without control"]),
        (MINIMAL.replace("token: made-up", "token: {file: nowhere}"), ["backend.token: the file"]),
        (MINIMAL.replace("token: made-up", "token: {env: RELAY_NO}"), ["backend.token: the environment variable"]),
        (MINIMAL.replace("token: made-up", "token: {credential: t}"), ["backend.token: systemd gave no"]),
        (MINIMAL.replace("token: made-up", "token: [a]"), ["backend.token: must be a secret"]),
        (MINIMAL.replace("token: made-up", "token: t, signing_keys: [abc]"), ["backend.signing_keys[0]: must begin"]),
        (MINIMAL.replace("token: made-up", "token: t, signing_keys: [whsec_!]"), ["backend.signing_keys[0]: must"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_path(text: str, expected: list[str]) -> None:
    found = mistakes(text)
    for start in expected:
        assert any(line.startswith(start) for line in found), found


@pytest.mark.parametrize(
    "url",
    [
        "http://backend.example.edu",
        "http://localhost.example.edu",
        "http://127.0.0.1.example.edu",
        "http://128.0.0.1",
        "http://[::2]",
        "http://user:secret@127.0.0.1",
        "https://user@backend.example.edu",
        "ftp://127.0.0.1",
        "https://",
        "https://backend.example.edu?x=1",
        "https://backend.example.edu/a b",
        "backend.example.edu",
    ],
)
def test_a_backend_that_is_neither_encrypted_nor_here_is_refused(url: str) -> None:
    (found,) = mistakes(MINIMAL.replace("https://backend.example.edu", f"'{url}'"))
    assert found.startswith("backend.url: must")
    assert "secret" not in found


@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.1", "http://127.9.9.9:1/base/", "http://[::1]:80", "https://b.edu"]
)
def test_a_backend_that_is_encrypted_or_here_is_taken(url: str) -> None:
    found = config.parse(MINIMAL.replace("https://backend.example.edu", f"'{url}'"), path=HERE)
    assert found.backend.url == url.rstrip("/")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "expected"),
        ("a: b: c", "mapping values"),
        ("a: *nobody", "undefined alias"),
        ("a: \x01", "is no YAML"),
        ("a: " + "[" * 5000, "is no YAML"),
        ("---\na: 1\n---\nb: 2\n", "but found another document"),
    ],
)
def test_what_is_no_yaml_is_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config.parse(text, path=HERE)


def test_aliases_that_multiply_are_not_followed() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert len(mistakes("\n".join(lines) + MINIMAL)) == 30


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////data/relay/outbox.db", "/data/relay/outbox.db"),
        ("sqlite:///data/relay/outbox.db", "/data/relay/outbox.db"),
        ("sqlite:////outbox.db", "/outbox.db"),
        ("sqlite:///outbox.db", "/etc/relay/outbox.db"),
    ],
)
def test_an_outbox_url_names_a_file(url: str, path: str) -> None:
    found = config.parse(f"{MINIMAL}outbox: {{url: '{url}'}}", path=Path("/etc/relay/config.yaml"))
    assert found.outbox.sqlite_path == Path(path)


def test_each_kind_of_event_is_switched_by_its_name_and_has_its_own_options() -> None:
    found = config.parse(MINIMAL, path=HERE).events
    assert found.disabled == {kind.name for kind in KINDS.values() if not kind.is_default} >= {"user_deleted"}
    assert found.chosen["enrollment_created", "role"] == "student"
    assert found.chosen["grade_updated", "feedback"] == "escaped"
    text = "events: {user_deleted: {enabled: true}, user_created: {enabled: false}, enrollment_created: {role: actual}}"
    found = config.parse(MINIMAL + text, path=HERE).events
    assert found.enabled("user_deleted")
    assert not found.enabled("user_created")
    assert found.chosen["enrollment_created", "role"] == "actual"
    (wrong,) = mistakes(MINIMAL + "events: {grade_updated: {feedback: loud}}")
    assert wrong.startswith("events.grade_updated.feedback: must be one of escaped, plain")


def test_an_empty_value_is_the_default() -> None:
    found = config.parse(MINIMAL + "retry: {max_attempts: }\nbtec: {}\noutbox:\nlog: {level: ~}", path=HERE)
    assert found == config.parse(MINIMAL, path=HERE)


def test_tls_is_none_unless_it_is_given() -> None:
    assert config.parse(MINIMAL, path=HERE).moodle.database.tls is None
    given_empty = config.parse(MINIMAL.replace("user: relay", "user: relay, tls: {}"), path=HERE)
    assert given_empty.moodle.database.tls == schema.TlsConfig(ca=None, cert=None, key=None, verify=True)
    (found,) = mistakes(MINIMAL.replace("user: relay", "user: relay, tls: {key: /dev/null}"))
    assert found.startswith("moodle.database.tls.key: is of no use without cert")


@pytest.mark.parametrize("kind", [schema.DatabaseConfig, schema.RetryConfig, schema.LogConfig, schema.BackendConfig])
def test_every_value_has_the_type_that_its_field_names(kind: type) -> None:
    """The field's annotation is what mypy believes, its metadata how the value is read: they must agree."""
    hints = get_type_hints(kind, {**vars(schema), "Path": Path})
    found = config.parse(MINIMAL, path=HERE)
    (section,) = [one for one in (found.moodle.database, found.retry, found.log, found.backend) if type(one) is kind]
    for name, hint in hints.items():
        assert isinstance(getattr(section, name), tuple if get_origin(hint) is tuple else hint), name


def test_bands_may_be_others() -> None:
    found = config.parse(MINIMAL + "btec: {Fail: 0, Top: 84.5}", path=HERE)
    assert found.btec.bands == ((Decimal("84.5"), "Top"), (Decimal(0), "Fail"))


@pytest.mark.parametrize(
    ("text", "start"),
    [("now", "now"), ("beginning", "beginning"), ("42", 42), ("2026-02-01T14:30:00+01:00", 1769952600.0)],
)
def test_where_to_start_is_a_word_a_time_or_an_id(text: str, start: object) -> None:
    found = config.with_start(config.parse(MINIMAL, path=HERE), text)
    assert found.moodle.start_from == start
    assert type(found.moodle.start_from) is type(start)
    with pytest.raises(UsageError):
        config.with_start(found, "soon")


def test_secrets_are_taken_from_where_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from a file\n")
    (tmp_path / "key").write_text("whsec_bWFkZSB1cA==")
    monkeypatch.setenv("RELAY_TEST_PASSWORD", "from the environment")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    text = """
moodle: {url: https://m.example, database: {name: m, user: u, password: {env: RELAY_TEST_PASSWORD}}}
backend: {url: https://b.example, token: {file: token}, signing_keys: [{credential: key}, whsec_bWFkZQ==]}
"""
    found = config.parse(text, path=tmp_path / "config.yaml")
    assert {path: secret.reveal() for path, secret in found.secrets()} == {
        "moodle.database.password": "from the environment",
        "backend.token": "from a file",
        "backend.signing_keys[0]": "whsec_bWFkZSB1cA==",
        "backend.signing_keys[1]": "whsec_bWFkZQ==",
    }
    assert [secret.origin.split()[0] for _, secret in found.secrets()] == ["env", "file", "credential", "open"]
    for shown in (repr(found), str(found)):
        assert "from a file" not in shown
        assert "from the environment" not in shown
        assert "whsec_" not in shown


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is empty"), (b"a\nb\n", "more than one line"), (b"\xff\xfe", "no UTF-8"), (b"x" * 70000, "more than one")],
)
def test_a_file_that_holds_no_secret_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    (found,) = mistakes(MINIMAL.replace("token: made-up", "token: {file: token}"), tmp_path / "config.yaml")
    assert problem in found


def test_a_file_that_others_may_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t")
    path.chmod(0o600)
    assert credentials.mode_warning(path) is None
    path.chmod(0o644)
    assert "can be read by other users (mode 0644)" in str(credentials.mode_warning(path))


@given(st.text(min_size=1))
def test_a_secret_does_not_show_itself(value: str) -> None:
    secret = Secret(value)
    assert secret.reveal() == value
    assert str(secret) == credentials.MASK
    assert repr(secret) == f"Secret({credentials.MASK})"
    assert f"{secret}" == credentials.MASK


@given(st.text(max_size=2000))
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    with pytest.raises(ConfigError, match=r"The config config\.yaml (is|has|holds) "):
        config.parse(text, path=HERE)


@given(st.integers(0, 10**8), st.sampled_from(sorted(times.UNITS)))
def test_durations(count: int, unit: str) -> None:
    assert times.seconds(f"{count}{unit}") == count * times.UNITS[unit]


@pytest.mark.parametrize("text", ["5", "5 s", "-5s", "s", "5w", "1h30m", "", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        times.seconds(text)


def test_where_a_config_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "PLACES", (Path("config.yaml"), tmp_path / "etc.yaml"))
    with pytest.raises(UsageError, match="There is no config"):
        config.find(None, None)
    (tmp_path / "etc.yaml").touch()
    assert config.find(None, None) == tmp_path / "etc.yaml"
    (tmp_path / "config.yaml").touch()
    assert config.find(None, "") == Path("config.yaml")
    assert config.find(None, "env.yaml") == Path("env.yaml")
    assert config.find(Path("named.yaml"), "env.yaml") == Path("named.yaml")
