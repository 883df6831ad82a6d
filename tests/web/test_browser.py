"""The page in a real Chromium: on a phone, in Arabic, by keyboard, without scripts, and with names that are HTML."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from receiver import Reply
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from visitor import Web, World, patience, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from receiver import Request

    #: Takes a language, a width in pixels, and whether scripts run.
    Start = Callable[..., "Browser"]

    from relay.demo.mariadb import MariaDB

AT = 1_769_956_200
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">\u202egnirts\u202c\u200f'\"&</script>"
#: The events of this user are refused, with an answer that is HTML, too.
REFUSED = 3
PATHS = (
    "/",
    "/events",
    "/events?q=failed",
    "/events?text=%3Cimg+src%3Dx+onerror%3D1%3E",
    f"/story?what=user%3A{REFUSED}",
    "/profile?user=2",
    "/sync",
    "/manage",
    "/nowhere",
    "/events?q=%3Cimg%20src%3Dx%3E",
)
AXE = (resources.files("axe_core_python") / "axe.min.js").read_text()
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def answer(request: Request) -> Reply:
    if request.method == "GET":
        return Reply(body=json.dumps({HOSTILE: [HOSTILE, {"name": HOSTILE}], "credits": 120}).encode())
    if request.envelope["data"]["userid"] == REFUSED:
        return Reply(code=422, body=HOSTILE.encode())
    return Reply()


@pytest.fixture(scope="module")
def made(mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A college whose people and courses have names that are HTML, with something in every state."""
    with world(mariadb, tmp_path_factory.mktemp("browser")) as one:
        one.backend.answer = answer
        college = one.college
        course = college.course(HOSTILE, HOSTILE)
        users = [college.sign_up("Ada", HOSTILE.lower(), AT, city=HOSTILE, username=f"u{n}") for n in range(12)]
        college.run("UPDATE {p}user SET firstname = %s", HOSTILE)
        for user in users:
            college.enrol(user, course, AT)
        assignment = college.assignment(course, HOSTILE)
        college.grade(users[0], assignment, 71, AT, HOSTILE)
        college.grade(users[1], assignment, 55, AT, "KEPT-BACK-COMMENT", is_released=False)
        one.relay.once(expect=None)
        yield one


@pytest.fixture(scope="module")
def web(made: World) -> Iterator[Web]:
    """Its page."""
    with Web(made.relay) as one:
        yield one


@dataclass
class Browser:
    """Somebody who has a browser."""

    driver: webdriver.Chrome
    web: Web

    def go(self, path: str) -> str:
        """Go to a page, and wait until it is there; return its source."""
        self.driver.get(f"http://localhost:{self.web.where}{path}")
        # At once, as the page comes again by itself; what was found of it may be gone at that moment.
        for _ in patience():
            with contextlib.suppress(WebDriverException):
                if self.run("return document.querySelector('main.wait') === null"):
                    return str(self.driver.page_source)
        raise AssertionError(path)

    def done(self) -> str:
        """Wait for what was asked for to be done; return what the page says of it."""
        text = ""
        for _ in patience(0.2):
            # The page comes again by itself meanwhile.
            with contextlib.suppress(WebDriverException):
                text = self.driver.find_element(By.CLASS_NAME, "job").text
            if "Done at" in text:
                return text
        raise AssertionError(text)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)


@pytest.fixture(scope="module")
def chromium(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser, which was let in: skipped by a person who has none, failed in CI."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: tests/setup.sh installs it")
        pytest.skip("Chromium is missing: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        made.get(f"http://localhost:{web.where}{web.link()}")
        yield made
    finally:
        made.quit()


@pytest.fixture
def start(chromium: webdriver.Chrome, web: Web) -> Start:
    """What makes of the browser one of a language, so many pixels wide. A start takes 3 s, and so it stays one."""

    def start(language: str = "en", width: int = 1440, *, scripts: bool = True) -> Browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        for command, given in (
            ("Network.enable", {}),
            ("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": language}}),
            ("Emulation.setDeviceMetricsOverride", size),
            ("Emulation.setScriptExecutionDisabled", {"value": not scripts}),
        ):
            chromium.execute_cdp_cmd(command, given)
        return Browser(chromium, web)

    return start


# Each language and each width; the other two pairs of them with --full.
SIZES = [("en", 1440), ("ar", 375), *(pytest.param(one, marks=pytest.mark.full) for one in (("en", 375), ("ar", 1440)))]


@pytest.fixture(params=SIZES, ids=str)
def browser(request: pytest.FixtureRequest, start: Start) -> Browser:
    """A browser on a desk and on a phone, in English and in Arabic."""
    language, width = request.param
    return start(language, width)


@pytest.fixture
def shots() -> Path | None:
    """Where pictures go: RELAY_SHOTS, for those who want to look at them."""
    return Path(os.environ["RELAY_SHOTS"]) if "RELAY_SHOTS" in os.environ else None


def test_pages_fit_are_read_by_all_and_run_nothing_of_what_stands_in_them(
    browser: Browser, shots: Path | None, is_full: bool
) -> None:
    for number, path in enumerate(PATHS):
        source = browser.go(path)
        assert browser.driver.title != "hacked"
        assert browser.driver.find_elements(By.CSS_SELECTOR, "img, script") == []
        assert "KEPT-BACK-COMMENT" not in source
        width, needed = browser.run("const e = document.documentElement; return [e.clientWidth, e.scrollWidth]")
        assert needed <= width, path
        language = browser.run("return document.documentElement.lang")
        assert browser.run("return document.documentElement.dir") == ("rtl" if language == "ar" else "ltr")
        if shots:
            browser.driver.save_screenshot(str(shots / f"{language}-{width // 100}-{number}.png"))
        # It takes most of the time: every other page on a desk, the others on a phone.
        if is_full or number % 2 == (language == "ar"):
            found = browser.run(f"{AXE}; return (await axe.run({{resultTypes: ['violations']}})).violations")
            assert [(path, one["id"], one["nodes"][0]["html"]) for one in found] == []
    log = browser.driver.get_log("browser")  # type: ignore[no-untyped-call] # as selenium has it
    said = [line for line in log if "Content Security Policy" in line["message"]]
    assert said == [], "what the page itself brings along needs no more than the policy grants"


def test_the_page_is_gone_through_by_keyboard(start: Start) -> None:
    browser = start()
    browser.go("/")
    tab = browser.driver.switch_to.active_element
    reached: list[str] = []
    for _ in range(12):
        webdriver.ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        tab = browser.driver.switch_to.active_element
        reached.append(str(tab.text))
        assert browser.run("return getComputedStyle(arguments[0]).outlineStyle", tab) != "none", (
            "it is seen where one is"
        )
        if tab.text == "Events":
            break
    assert reached[0] == "Skip to the content"
    tab.send_keys(Keys.ENTER)
    field = browser.driver.find_element(By.ID, "q")
    field.send_keys("failed", Keys.ENTER)
    rows = browser.driver.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert len(rows) == 2


def test_all_is_done_without_scripts(start: Start, made: World) -> None:
    browser = start(scripts=False)
    browser.go("/sync")
    before = len(made.backend.posts)
    browser.driver.find_element(By.CSS_SELECTOR, "form[action='/sync'] button").click()
    assert "12 rows read" in browser.done()
    assert len(made.backend.posts) >= before
    browser.go("/manage")
    browser.driver.find_element(By.ID, "q").send_keys("status=success,type=user_created")
    browser.driver.find_element(By.CSS_SELECTOR, "form[action='/replay'] button").click()
    assert "11 of 11" in browser.done()


def test_the_first_screen_says_what_relay_status_says(start: Start, made: World) -> None:
    browser = start()
    browser.go("/")
    said = browser.driver.find_element(By.TAG_NAME, "main").text
    for one in json.loads(made.relay.run("status", "--json").stdout)["problems"]:
        assert one["says"][1:60] in said
        # The commands are shown as such.
        assert one["hint"][1:].replace("`", "") in said
