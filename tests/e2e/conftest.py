"""The pages, a browser, and a home for the tests that drive the real thing."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import (
    CHROMIUM_FLAGS,
    GLMHMM,
    STUDY,
    Pages,
    end_with_parent,
    environment,
    free_port,
    wait_for,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one study and no session files."""
    home = tmp_path_factory.mktemp("e2e") / "home"
    (home / "studies").mkdir(parents=True)
    (home / "studies" / "tiny.toml").write_text(STUDY)
    (home / "sessions" / "tiny").mkdir(parents=True)
    return home


@pytest.fixture(scope="module")
def pages(home: Path) -> Iterator[Pages]:
    """The pages of the home."""
    ports = free_port(), free_port()
    output = home / "ui.txt"
    options = ["--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [*GLMHMM, "ui", *options],
            env=environment(home),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        opened = Pages(process, output, *(f"http://127.0.0.1:{port}" for port in ports))
        wait_for(
            lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, 300, "the pages"
        )
        assert process.poll() is None, output.read_text()
        yield opened
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.fixture(scope="module")
def chromium() -> str:
    """Path of a Chromium; skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest, home: Path) -> Iterator[Any]:
    """A page, of which a screenshot is kept beside the home when the test ends."""
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    page.set_default_timeout(60_000)
    yield page
    page.screenshot(path=home.parent / f"{request.node.name}.png")
    page.close()
