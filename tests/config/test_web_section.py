"""The section `web`: where the page is, and who is let in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relay import config
from relay.errors import ConfigError


def parse(web: dict[str, Any]) -> config.Config:
    made = {
        "moodle": {"url": "https://m.example", "database": {"name": "moodle", "user": "relay"}},
        "backend": {"url": "https://b.example", "token": "made-up"},
        "web": web,
    }
    return config.parse(json.dumps(made), path=Path("config.yaml"))


def test_without_a_word_it_is_on_a_socket_and_knows_no_proxy() -> None:
    found = parse({}).web
    assert (found.listen, found.group, found.host, found.proxy) == ("/run/relay-web/web.sock", "relay", None, None)


def test_a_proxy_has_defaults() -> None:
    found = parse({"proxy": {}}).web.proxy
    assert found is not None
    assert (found.header, found.user) == ("X-Remote-User", "www-data")


@pytest.mark.parametrize(
    ("web", "says"),
    [
        ({"listen": "0.0.0.0:80"}, "web.listen"),
        ({"listen": "relay.example:80"}, "web.listen"),
        ({"proxy": {"header": "X Remote"}}, "web.proxy.header"),
        ({"proxy": {"header": "X_Remote_User"}}, "web.proxy.header"),
        ({"listen": "127.0.0.1:8090", "proxy": {}}, "web.proxy"),
        ({"host": "a b"}, "web.host"),
        ({"proxy": {"headers": "X"}}, "header"),
    ],
)
def test_a_mistake_is_named(web: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(web)
    assert says in " ".join(caught.value.mistakes)
