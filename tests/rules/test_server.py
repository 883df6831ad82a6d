"""What the servers' numbers mean: for each a sentence and a remedy of our own, and whether another try can help."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pymysql
import pytest

from relay.rules import server

ADDRESS = server.Address(
    host="db.college.example", port=3306, name="moodle", user="re{lay", password="canary7", prefix="mdl_"
)


def test_a_server_of_this_machine_is_asked_in_the_open_unless_the_config_says_otherwise() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asked = [
        (ADDRESS, False),
        (replace(ADDRESS, host="127.0.0.1"), True),
        (replace(ADDRESS, host="127.0.0.1", tls=tls), False),
        (replace(ADDRESS, unix_socket="/run/mysqld/mysqld.sock"), True),
    ]
    assert [one.options()["ssl_disabled"] for one, _ in asked] == [is_open for _, is_open in asked]


@pytest.mark.parametrize("code", sorted({*server.REFUSALS, *server.OUTAGES}))
def test_every_number_has_a_sentence_without_the_servers_words(code: int) -> None:
    found = server.explained(pymysql.OperationalError(code, "canary7 for user 'canary7'@'canary7'"), ADDRESS)
    assert found.is_refusal is (code in server.REFUSALS)
    assert found.sentence.endswith(".")
    assert found.hint.endswith((".", "?"))
    assert "canary7" not in found.sentence + found.hint
    assert "{" not in found.sentence.replace("re{lay", "") + found.hint.replace("re{lay", "")


def test_no_number_is_both() -> None:
    assert not server.REFUSALS.keys() & server.OUTAGES.keys()


@pytest.mark.parametrize(
    ("error", "is_refusal", "said"),
    [
        (pymysql.OperationalError(2003, "([Errno 111] Connection refused)"), False, "nobody listens there"),
        (pymysql.OperationalError(2013, "Lost connection (timed out)"), False, "no answer in time"),
        (pymysql.OperationalError(4711, "canary7"), False, "(error 4711)"),
        (RuntimeError("'pynacl' package is required"), True, "the driver cannot log in to it (RuntimeError)"),
        (pymysql.OperationalError("unexpected packet"), False, "broke off (error OperationalError)"),
        (pymysql.InterfaceError(0, ""), False, "broke off (error InterfaceError)"),
        (BrokenPipeError(32, "Broken pipe"), False, "broke off: Broken pipe"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), False, "no secure connection could be made"),
        (ssl.SSLError(None, "the server offers none"), True, "connection could be made: the server offers none"),
        (pymysql.OperationalError(1142, "SELECT command denied to user 'x'@'y' for table `moodle`.`mdl_user`"), True,
         "may not read the table moodle.mdl_user"),
        (pymysql.OperationalError(1143, "SELECT command denied to user 'x'@'y' for column 'city' in table 'mdl_user'"),
         True, "may not read the column city, mdl_user"),
    ],
)  # fmt: skip
def test_an_error_is_explained(error: Exception, is_refusal: bool, said: str) -> None:
    found = server.explained(error, ADDRESS)
    assert said in found.sentence
    assert found.is_refusal is is_refusal
    assert found.hint
