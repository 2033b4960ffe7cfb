"""The site builds without a warning, asks no other host for anything, and is complete."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest

import bidsplan
from bidsplan import errors, events, s3bids
from bidsplan.cli.main import bidsplan as commands
from bidsplan.manifest import Manifest
from setups import ROOT

mkdocs = pytest.importorskip("mkdocs.commands.build", reason="needs the extra docs")
pytest.importorskip("mkdocstrings", reason="needs the extra docs")
pytest.importorskip("material", reason="needs the extra docs")

pytestmark = pytest.mark.timeout(240)  # ten seconds where nothing else runs

FETCHED = {"img": "src", "link": "href", "script": "src", "iframe": "src", "source": "src"}
"""What a browser requests by itself, and the attribute that says where."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as ``mkdocs build`` does; a warning is an error."""
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    before = list(sys.path)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    assert config.strict
    mkdocs.build(config)
    sys.path[:] = before
    return folder


def text(site, page):
    return (site / page).read_text(encoding="utf-8")


class Requests(HTMLParser):
    """Collects what a page has a browser request."""

    def __init__(self) -> None:
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if FETCHED.get(tag) == name]


def test_no_page_asks_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text(encoding="utf-8"))
        assert requests.found
        outside = [place for place in requests.found if re.match(r"(?:[a-z]+:)?//", place)]
        assert outside == [], page
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\((?!['\"]?(?:data:|[#.]))[^)]*\)|@import[^;]*", styles) == []


def test_every_public_name_has_an_entry(site):
    for page, module in (("interface", bidsplan), ("s3bids-interface", s3bids)):
        shown = text(site, f"reference/{page}.html")
        missing = [name for name in module.__all__ if f'id="{module.__name__}.{name}"' not in shown]
        assert missing == []


def test_every_command_and_its_options_are_there(site):
    shown = text(site, "reference/commands.html")
    for name in commands.list_commands(None):
        assert f'id="bidsplan-{name}"' in shown
        section = shown.partition(f'id="bidsplan-{name}"')[2].partition("<h2")[0]
        command = commands.get_command(None, name)
        options = {option for param in command.params for option in param.opts if option[0] == "-"}
        assert {option for option in options if f"<code>{option}</code>" not in section} == set()
        assert "Exits with 1" in section


def test_every_field_error_and_event_is_there(site):
    shown = text(site, "reference/manifest-fields.html")
    names = [field.alias or name for name, field in Manifest.model_fields.items()]
    assert [name for name in names if f"<code>{name}</code>" not in shown] == []
    kinds = [
        (page, kind.__name__)
        for page, module in (("errors", errors), ("events", events))
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__
        if (page == "errors" and issubclass(kind, Exception))
        or (page == "events" and hasattr(kind, "__struct_fields__") and kind is not events.Event)
    ]
    pages = {page: text(site, f"reference/{page}.html") for page in ("errors", "events")}
    assert [kind for page, kind in kinds if f"<code>{kind}</code>" not in pages[page]] == []


def test_no_name_of_a_template_or_comment_is_left(site):
    for page in site.rglob("*.html"):
        found = re.findall(r"<!-- (?:page|block): |\]\(\.\./|:::", page.read_text("utf-8"))
        assert found == [], page
