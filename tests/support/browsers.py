"""Pages opened in the Chromium of this machine, and checked as people use them."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

# Without these it looks for its maker's hosts at each start, and root may not use its sandbox.
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
_FLAGS += ["--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium():
    """Start a browser without a profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, path, **options):
    """Open a file; fails where the page requests anything, or reports an error."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    told, requests = [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    url = Path(path).resolve().as_uri()
    page.goto(url)
    if options.get("java_script_enabled", True):
        page.wait_for_selector("html[data-ready]")
    try:
        yield page
    finally:
        context.close()
    assert (told, requests) == ([], [url]), told


def violations(page):
    """Find what axe-core calls a violation, however slight, with the elements."""
    import axe_playwright_python

    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (row["id"], row["impact"], [node["html"] for node in row["nodes"]][:3])
        for row in found["violations"]
    ]
