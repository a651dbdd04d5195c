"""The pages in a browser: what a reader does with them, and that they ask nothing of a network.

Needs Chromium and its driver (on Debian: apt-get install chromium chromium-driver).
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from derive import library
from derive.printing.writing import definition_text
from gradsmith.pages import html, site
from gradsmith.playground import Server, Worker

OPERATIONS = ("batch_norm", "softmax", "mse_loss")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("there is no Chromium here: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(argument)
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--disable-background-networking")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with Chrome(options=options, service=Service(driver)) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    list(site.write([library.load(name) for name in OPERATIONS], folder))
    return folder


@pytest.fixture(scope="module")
def playground() -> Iterator[str]:
    worker = Worker()
    examples = {name: definition_text(library.load(name)) for name in OPERATIONS}
    with Server(0, html.playground(examples), worker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()
    worker.close()


def requested(browser: Chrome) -> list[str]:
    """The addresses that the pages asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def one(browser: Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def background(element: WebElement) -> str:
    return element.value_of_css_property("background-color")


def test_a_reader_finds_an_operation_and_follows_a_term_to_its_line(
    browser: Chrome, pages: Path
) -> None:
    requested(browser)
    browser.get((pages / "index.html").as_uri())
    one(browser, ".find").send_keys("norm batch")
    shown = [c for c in browser.find_elements(By.CSS_SELECTOR, ".card") if c.is_displayed()]
    assert [card.find_element(By.TAG_NAME, "h2").text for card in shown] == ["batch_norm"]
    shown[0].find_element(By.TAG_NAME, "a").click()
    assert one(browser, "h1").text == "batch_norm"

    before = one(browser, "#step-2 .before-after")
    assert not before.is_displayed()
    one(browser, "#step-2 summary").click()
    assert before.is_displayed() and one(browser, "#step-2 .before .changed").is_displayed()

    line = next(
        s
        for s in browser.find_elements(By.CSS_SELECTOR, "[data-statement]")
        if s.text.endswith("grad_x = grad_x * (weight * rstd)")
    )
    dark = background(line)
    term = one(browser, f".term.{line.get_attribute('id')}")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", term)
    ActionChains(browser).move_to_element(term).perform()
    assert background(line) != dark
    term.click()
    assert browser.current_url.endswith(f"#{line.get_attribute('id')}")
    asked = requested(browser)
    assert len(asked) >= 2 and not away(asked)


def away(addresses: list[str]) -> list[str]:
    """The addresses that are not on this machine."""
    return [a for a in addresses if not a.startswith(("file:", "data:", "http://127.0.0.1:"))]


def test_a_variant_is_found_by_what_its_caller_writes(browser: Chrome, pages: Path) -> None:
    browser.get((pages / "index.html").as_uri())
    one(browser, ".find").send_keys("reduction='sum' with weight")
    shown = [c for c in browser.find_elements(By.CSS_SELECTOR, ".card") if c.is_displayed()]
    assert [card.find_element(By.TAG_NAME, "h2").text for card in shown] == ["mse_loss"]
    shown[0].find_element(By.TAG_NAME, "a").click()
    one(browser, ".siblings summary").click()
    one(browser, ".siblings").find_element(By.LINK_TEXT, "mse_loss[sum_weight]").click()
    assert one(browser, "h1").text == "mse_loss[sum_weight]"
    assert one(browser, ".siblings [aria-current]").get_attribute("href") == browser.current_url


@pytest.mark.parametrize("width", [390, 1000, 1200])
@pytest.mark.parametrize("name", [*OPERATIONS, "mse_loss.sum_weight"])
def test_no_page_is_wider_than_its_window(
    browser: Chrome, pages: Path, name: str, width: int
) -> None:
    browser.get("about:blank")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get((pages / f"{name}.html").as_uri())
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= width


def test_a_definition_is_derived_as_it_is_typed_and_a_mistake_is_shown_where_it_is(
    browser: Chrome, playground: str
) -> None:
    requested(browser)
    browser.get(playground)
    wait = WebDriverWait(browser, 30)
    wait.until(lambda b: one(b, "#said").text.startswith("derived"))
    assert "grad_bias" in one(browser, "#result").text

    field = one(browser, "#text")
    field.clear()
    field.send_keys("y[n] = 3*x[n]**2")
    wait.until(lambda b: "grad_y * x" in one(b, "#gradient").text)

    field.send_keys(" + exq(x[n])")
    wait.until(lambda b: "unknown function 'exq'" in one(b, "#said").text)
    assert one(browser, ".backdrop mark").get_attribute("textContent") == "exq"
    assert "line 1, column 20" in one(browser, "#said").text

    field.send_keys("\b" * 12)
    wait.until(lambda b: one(b, "#said").text.startswith("derived"))
    asked = requested(browser)
    assert len(asked) >= 4 and not away(asked)
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
