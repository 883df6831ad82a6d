"""The config: all mistakes at once, each with its path and line; secrets by reference, masked."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import config, times
from relay.config import credentials, files, reader, schema
from relay.config.credentials import Secret
from relay.errors import ConfigError, CredentialError, UsageError
from relay.events.catalogue import KINDS
from relay.service import parts, wiring

if TYPE_CHECKING:
    from harness import Relay

MINIMAL = """
moodle: {url: https://moodle.example.edu, database: {name: moodle, user: relay}}
backend: {url: https://backend.example.edu, token: made-up}
"""
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
HERE = Path("config.yaml")


@pytest.mark.parametrize("text", [EXAMPLE.read_text(), f"\ufeff{MINIMAL}", f"{MINIMAL}# \N{ARABIC LETTER MEEM}"])
def test_a_config_is_read_the_same_without_libyaml(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every place, as a mistake names its line, and an edit changes what stands there."""
    found = places(reader.compose(text, HERE))
    assert found
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert places(reader.compose(text, HERE)) == found


def places(node: yaml.Node | None) -> list[tuple[str, int, int, int]]:
    """Return each value's tag, where it begins and ends, and its line."""
    if node is None:
        return []
    below = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
    inner = [place for one in below for place in places(one)] if isinstance(node, yaml.CollectionNode) else []
    return [(node.tag, node.start_mark.index, node.end_mark.index, node.start_mark.line), *inner]


def mistakes(text: str, path: Path = HERE) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, path=path)
    return list(caught.value.mistakes)


def test_the_defaults_are_those_of_the_contract() -> None:
    found = config.parse(MINIMAL, path=HERE)
    assert found.enabled
    assert found.moodle.poll_interval == 0.1
    assert found.moodle.start_from == "now"
    assert (found.moodle.database.host, found.moodle.database.port) == ("localhost", 3306)
    assert found.moodle.database.prefix == found.outbox.prefix == "mdl_"
    assert (found.backend.timeout, found.backend.concurrency, found.backend.tenant_id) == (30, 8, "default")
    assert (found.retry.max_attempts, found.retry.first_delay, found.retry.multiplier) == (24, 5, 2)
    assert found.retry.max_delay == 6 * 3600
    assert found.events.disabled == {event_type for event_type, kind in KINDS.items() if not kind.is_default}
    assert found.events.ignore_actors == ()
    assert [(str(least), grade) for least, grade in found.btec.bands] == [
        ("70", "Distinction"),
        ("60", "Merit"),
        ("40", "Pass"),
        ("0", "Refer"),
    ]
    assert found.outbox.sqlite_path == Path("/var/lib/relay/outbox.db")
    assert found.log == schema.LogConfig(level="info", format="auto")


def test_the_example_shows_every_key_with_its_default(tmp_path: Path, pems: Path) -> None:
    """Uncommented, the example must parse; and its defaults must be the real ones."""
    lines = EXAMPLE.read_text().split("\n")
    given_only = config.parse(secrets_of("\n".join(lines), tmp_path), path=tmp_path / "config.yaml")
    keys = re.compile(r"^(\s*)# ([a-z_]+: .*|[a-z_]+:)$")
    everything = "\n".join(keys.sub(r"\1\2", line) for line in lines if "unix_socket" not in line)
    (tmp_path / "proxy").write_text("http://proxy.example:3128")
    (tmp_path / "outbox-password").write_text("made up")
    for name in ("ca.pem", "client.pem", "backend-ca.pem"):
        (tmp_path / name).write_bytes((pems / "cert").read_bytes())
    (tmp_path / "client.key").write_bytes((pems / "key").read_bytes())
    found = config.parse(secrets_of(everything, tmp_path), path=tmp_path / "config.yaml")
    shown = found.events.kinds.keys() - given_only.events.kinds.keys()
    assert shown == {"quiz_attempted"}, "the one that has no default"
    assert replace(found.events, kinds=KINDS) == given_only.events
    for section in ("enabled", "retry", "btec", "log", "status"):
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
        (MINIMAL.replace(".edu", ".edu/v1/events/moodle/"), ["backend.url: must end before /v1/events/moodle/: "]),
        (MINIMAL.replace(".edu", ".edu/relay/v1/health"), ["backend.url: must end before /v1/health: relay puts"]),
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
        ("a: " + "[" * 2000, "is no YAML"),
        ("---\na: 1\n---\nb: 2\n", "but found another document"),
    ],
)
def test_what_is_no_yaml_is_a_sentence(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config.parse(text, path=HERE)


@pytest.mark.parametrize(
    "line",
    [
        "password: *canary7",
        "password: !canary7!x",
        "password: !canary7 x",
        "password: &a canary7 *canary7",
        "password: @canary7",
        "password: %canary7",
        "password: `canary7",
        "password: canary7: x",
        'password: "canary7',
        'password: "\\canary7"',
        "password: [canary7",
        "password: {canary7:x}",
        "password: !!bool canary7",
        "password:canary7",
        "{password:canary7}: x",
        "'password: canary7': x",
        "password: |canary7",
        "password: >canary7",
        "password: \tcanary7\t: *x",
    ],
)
def test_no_message_about_a_config_quotes_what_may_be_a_secret(line: str) -> None:
    for text in (
        f"moodle:\n  database:\n    {line}\n    user: x\n",
        f"{line}\n",
        f"enabled: {line.split(': ', 1)[-1]}\n",
    ):
        with pytest.raises(ConfigError) as caught:
            config.parse(text, path=HERE)
        said = "\n".join((str(caught.value), caught.value.hint, *caught.value.mistakes))
        assert "canary7" not in said


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
    assert "user_deleted" not in found.disabled
    assert "user_created" in found.disabled
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
    (found,) = mistakes(MINIMAL.replace("user: relay", f"user: relay, tls: {{key: {__file__}}}"))
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
    with pytest.raises(UsageError, match="There is no config") as none:
        config.find(None, None)
    assert "relay init" in none.value.hint
    (tmp_path / "etc.yaml").touch()
    assert config.find(None, None) == tmp_path / "etc.yaml"
    (tmp_path / "config.yaml").touch()
    assert config.find(None, "") == Path("config.yaml")
    assert config.find(None, "env.yaml") == Path("env.yaml")
    assert config.find(Path("named.yaml"), "env.yaml") == Path("named.yaml")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its key, another key, the first key encrypted, and files that are neither."""
    folder = tmp_path_factory.mktemp("pems")
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made up")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + timedelta(days=9999))
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "cert").write_bytes(certificate)
    (folder / "both").write_bytes(certificate + pem(key))
    (folder / "key").write_bytes(pem(key))
    (folder / "other-key").write_bytes(pem(other))
    (folder / "encrypted-key").write_bytes(pem(key, serialization.BestAvailableEncryption(b"made-up")))
    (folder / "text").write_text("no PEM at all")
    (folder / "cut").write_bytes(certificate[: len(certificate) // 2])
    (folder / "empty").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "shut").write_bytes(certificate)
    (folder / "shut").chmod(0)
    return folder


def pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption or serialization.NoEncryption()
    )


NO_PEM = ["text", "cut", "empty", "key"]
UNREADABLE = ["folder", "pipe", "absent", *(["shut"] if os.geteuid() else [])]


@pytest.mark.parametrize("name", [*NO_PEM, *UNREADABLE])
@pytest.mark.parametrize("key", ["backend.ca_bundle", "moodle.database.tls.ca", "outbox.tls.ca", "outbox.tls.cert"])
def test_a_file_of_certificates_that_holds_none_is_a_mistake_with_its_line(key: str, name: str, pems: Path) -> None:
    (found,) = mistakes(with_value(key, name), pems / "config.yaml")
    assert re.fullmatch(rf"{key}: .*{pems / name}.* \(line \d+\)", found)


@pytest.mark.parametrize("name", ["text", "other-key", "encrypted-key", "cert", *UNREADABLE])
@pytest.mark.parametrize("section", ["moodle.database.tls", "outbox.tls"])
def test_a_key_that_is_not_the_certificates_is_a_mistake_with_its_line(section: str, name: str, pems: Path) -> None:
    (found,) = mistakes(with_value(section, {"cert": "cert", "key": name}), pems / "config.yaml")
    assert re.fullmatch(rf"{section}.key: .*{pems / name}.* \(line \d+\)", found)


def test_a_certificate_and_its_key_are_taken_in_one_file_or_in_two(pems: Path) -> None:
    for tls in ({"cert": "cert", "key": "key", "ca": "cert"}, {"cert": "both"}):
        config.parse(with_value("outbox.tls", tls), path=pems / "config.yaml")
    (found,) = mistakes(with_value("outbox.tls", {"cert": "cert"}), pems / "config.yaml")
    assert found.startswith("outbox.tls.cert: ")


def with_value(key: str, value: object) -> str:
    """Return a config with one more value, each key on a line of its own."""
    text: dict[str, Any] = {
        "moodle": {"url": "https://moodle.example.edu", "database": {"name": "moodle", "user": "relay"}},
        "backend": {"url": "https://backend.example.edu", "token": "made-up"},
    }
    *sections, name = key.split(".")
    section = text
    for one in sections:
        section = section.setdefault(one, {})
    section[name] = value
    return json.dumps(text, indent=1)


HOSTS = st.one_of(
    st.sampled_from(["%zz", "a..b", ".", "[::1]", "[v1.a]", "a%20b", "x" * 64, "x." * 200, "a_b", "a.b.", "::1"]),
    st.text(max_size=70),
)


@settings(max_examples=30)
@given(HOSTS, st.sampled_from(["", ":1", ":99999", "/path", "/%zz"]))
def test_what_is_taken_as_an_address_can_be_connected_to(host: str, rest: str) -> None:
    """Whoever looks up a name or makes a URL of it must not fail otherwise than where there is no such host."""
    texts = {
        "backend.url": f"https://{host}{rest}",
        "backend.proxy": f"http://user:password@{host}{rest}",
        "moodle.database.host": host,
        "outbox.url": f"mysql://relay@{host}{rest}",
    }
    for key, text in texts.items():
        with contextlib.suppress(ConfigError):
            found = config.parse(with_value(key, text), path=HERE)
            if key.startswith("backend"):
                wiring.make_sender(found, parts.REAL).close()
            for name in (found.moodle.database.host, config.outbox_server(found.outbox.url)[0]):
                name.encode("idna")


@pytest.mark.parametrize("host", ["%zz", "a..b", "x" * 64, "[v1.a]", ".", "a%20b", "a b"])
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("backend.url", "https://{}"),
        ("backend.proxy", "http://{}:1"),
        ("moodle.database.host", "{}"),
        ("outbox.url", "mysql://u@{}/s"),
    ],
)
def test_a_name_that_no_host_can_have_is_a_mistake_with_its_line(key: str, text: str, host: str) -> None:
    (found,) = mistakes(with_value(key, text.format(host)))
    assert re.fullmatch(rf"{key}: .* \(line \d+\)", found)


def test_a_config_that_may_not_be_looked_at_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, **_options: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    monkeypatch.chdir(tmp_path)
    found = config.find(None, None)
    for load in (config.load, config.load_database, config.load_outbox, config.load_events):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(found)
    with pytest.raises(CredentialError, match="cannot be read"):
        credentials.unseal("v1:AAAA", tmp_path)


def test_a_secret_in_the_home_of_nobody_is_a_mistake() -> None:
    (found,) = mistakes(with_value("backend.token", {"file": "~nobody-at-all/token"}))
    assert found.startswith("backend.token: ~nobody-at-all/token: there is no home")
