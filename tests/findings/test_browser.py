"""The page of a report in a real browser: nothing in the console, all figures seen, tables that sort, a phone's width.

Screenshots go into the folder that HPCSWEEP_SCREENSHOTS names, or else into the test's own.
"""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcsweep.config import Cell
from hpcsweep.findings.report import report
from hpcsweep.store.store import Record
from tests.findings.stores import STUDY, make, record

selenium = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install 'hpcsweep[dev]'")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--force-device-scale-factor=1"),
)
PHONE, DESK = 390, 1200
Browser = Any  # selenium.webdriver.Chrome


def mixed(cell: Cell) -> Record | None:
    """A store with everything in it: results, failures with a long message, cells that are pending."""
    if cell.replicate == 2 and cell.samples == 100:
        return None
    if cell.replicate == 2:
        return Record("failed", {"message": "ValueError: " + "x" * 120})
    return record(cell, boundary=cell.replicate, sample_distance=0.01, certificate=1, sup_upper=1e3)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a store with all kinds of cells."""
    folder = tmp_path_factory.mktemp("browser")
    return report.write(make(folder / "results.h5", STUDY, mixed), folder / "report")[0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium with a new profile; skips where there is none."""
    chromium, driver_program = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if chromium is None or driver_program is None:
        pytest.skip("no chromium or no chromedriver: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(driver_program))
    yield driver
    driver.quit()


@pytest.fixture
def shown(browser: Browser, page: Path) -> Callable[[int], Browser]:
    """Open the page anew, so many pixels wide."""

    def opened(width: int) -> Browser:
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        return browser

    return opened


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_every_figure_is_seen_and_nothing_sticks_out(
    width: int, shown: Callable[[int], Browser], tmp_path: Path
) -> None:
    browser = shown(width)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('figure img')].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight])"
    )
    assert len(sizes) >= 10 and all(min(size) > 0 and size[1] <= width for size in sizes)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    right = browser.execute_script("return Math.max(...[...document.querySelectorAll('p, li, div, figure, nav, pre')]"
                                   ".map(e => e.getBoundingClientRect().right))")  # fmt: skip
    assert right <= width
    height = browser.execute_script("return document.documentElement.scrollHeight")
    screenshot = Path(os.environ.get("HPCSWEEP_SCREENSHOTS", tmp_path)) / f"report-{width}.png"
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    clip = {"clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}, "captureBeyondViewport": True}
    screenshot.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", clip)["data"]))
    assert screenshot.read_bytes().startswith(b"\x89PNG")
    assert browser.get_log("browser") == []


TABLE = "#the-smallest-errors table"
COLUMN = f"return [...document.querySelector('{TABLE}').tBodies[0].rows].map(r => r.cells[{{}}].textContent)"


def test_tables_sort_by_number_and_by_word_and_back(shown: Callable[[int], Browser]) -> None:
    browser = shown(DESK)
    heads = browser.find_elements("css selector", f"{TABLE} th")[:8]
    before = browser.execute_script(COLUMN.format(2))
    assert before != sorted(before, key=float)
    for column, key in ((2, float), (0, str)):
        head = heads[column]
        head.find_element("tag name", "button").send_keys("\n")  # by the keyboard
        assert head.get_attribute("aria-sort") == "ascending"
        values = browser.execute_script(COLUMN.format(column))
        assert values == sorted(before if column == 2 else values, key=key)
        head.find_element("tag name", "button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert browser.execute_script(COLUMN.format(column)) == sorted(values, key=key, reverse=True)
    assert heads[2].get_attribute("aria-sort") == "none" and browser.get_log("browser") == []


@pytest.mark.parametrize(
    "ordered",  # what a column of a report holds, sorted: bounds by their number, gaps and dashes last
    [["≤ 8", "> 32", "97", "1,153", "–"], ["-0.1 (-0.3 to 0.1)", "0.5", "1.2 (0.9 to 1.4)", "inf"]],
    ids=["counts", "intervals"],
)
def test_what_a_column_may_hold_sorts_by_its_number(ordered: list[str], shown: Callable[[int], Browser]) -> None:
    browser = shown(DESK)
    rows = "".join(f"<tr><td>{ordered[i]}</td></tr>" for i in sorted(range(len(ordered)), key=lambda i: (i % 2, -i)))
    # The listeners hold the body that was there at the beginning: its rows are replaced, and then sorted by a click.
    cells = rows.replace("> 3", "&gt; 3")
    browser.execute_script(f"document.querySelector('{TABLE} tbody').innerHTML = arguments[0]", cells)
    browser.find_element("css selector", f"{TABLE} th button").click()
    assert browser.execute_script(COLUMN.format(0)) == ordered


def test_a_figure_opens_large_and_closes(shown: Callable[[int], Browser]) -> None:
    browser = shown(PHONE)
    figure = browser.find_element("css selector", "button.enlarge")
    small = figure.find_element("tag name", "img").size["width"]
    browser.execute_script("arguments[0].scrollIntoView()", figure)
    figure.click()
    large = browser.find_element("css selector", "dialog img")
    assert browser.execute_script("return document.querySelector('dialog').open")
    limit = time.monotonic() + 10
    while large.size["width"] <= 2 * small and time.monotonic() < limit:
        time.sleep(0.02)
    assert large.size["width"] > 2 * small
    browser.find_element("css selector", "dialog button").click()
    assert not browser.execute_script("return document.querySelector('dialog').open")
    assert browser.get_log("browser") == []


def test_in_print_there_is_everything_and_no_links(shown: Callable[[int], Browser]) -> None:
    browser = shown(DESK)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        hidden = browser.execute_script("return getComputedStyle(document.querySelector('nav')).display")
        cut = browser.execute_script("return [...document.querySelectorAll('.scroll')].some("
                                     "e => getComputedStyle(e).maxHeight !== 'none')")  # fmt: skip
        assert (hidden, cut) == ("none", False)
        pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
        assert pdf.startswith(b"%PDF-")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
