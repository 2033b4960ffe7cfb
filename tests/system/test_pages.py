"""Pages can be read and followed: sentences, links, variables and exit codes."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import botocore
import pytest
from markdown_it import MarkdownIt

import bidsplan
from bidsplan import s3bids
from bidsplan.cli.main import bidsplan as commands
from setups import ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))

from made_pages import MADE
from readability import measure, prose, sentences, words

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MADE_HERE = {ROOT / "docs" / name for name in MADE}
"""Pages that only the site has, so only other pages of it may lead there; its build checks that."""
VARIABLES = ROOT / "docs" / "reference" / "environment.md"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_a_page_is_easy_to_read(name):
    found = measure(ROOT / name)
    assert found is None or found.grade <= 9, f"grade {found.grade:.1f}; see CONTRIBUTING.md"
    long = [
        sentence
        for text in prose(ROOT / name)
        for sentence in sentences(text)
        if len(words(sentence)) > 40
    ]
    assert long == []


def slug(heading: str) -> str:
    """Give the anchor that GitHub and the site make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page):
    """List the anchors of a page's headings."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    heads = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "heading_open"]
    texts = ["".join(child.content for child in head.children) for head in heads]
    return {slug(text) for text in texts}


def links(text):
    """Yield the targets of a text's links and pictures."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or ():
            if target := child.attrs.get("href") or child.attrs.get("src"):
                yield str(target)


def as_file(target):
    """Give the path in the repository that a link to its web page names, or None."""
    web = r"https://github\.com/[^/]+/bidsplan/(?:blob|tree|raw)/[^/]+/(.*)"
    found = re.match(web, target)
    return found[1] if found else None


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_page_lead_somewhere(name):
    page = ROOT / name
    for target in links(page.read_text(encoding="utf-8")):
        inside = as_file(target)
        if inside is None and re.match(r"[a-z]+:", target):
            assert urlsplit(target).scheme in {"https", "mailto"}, target
            assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]{2,}", urlsplit(target).hostname or ""), target
            continue
        path, _, anchor = (target if inside is None else inside).partition("#")
        base = page.parent if inside is None else ROOT
        found = (base / path).resolve() if path else page
        made = found in MADE_HERE and page.parent != ROOT and inside is None
        assert found.exists() or made, target
        if anchor and found.suffix == ".md" and not made:
            assert anchor in anchors(found), target


def test_links_of_docstrings_are_of_the_web():
    names = [getattr(module, name) for module in (bidsplan, s3bids) for name in module.__all__]
    texts = [inspect.getdoc(found) or "" for found in names]
    found = [url for text in texts for url in re.findall(r"\bhttps?://[^\s<>`\"')]+", text)]
    assert [url for url in found if not url.startswith(("https://", "http://127.0.0.1"))] == []


NOT_VARIABLES = {"DEEP_ARCHIVE", "FULL_OBJECT", "O_PATH"}
"""Texts of the source that look like variables: a storage class, a kind of checksum, a flag."""


def test_every_variable_that_the_source_names_is_in_the_table():
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(r"\A_?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\Z", node.value))
    page = VARIABLES.read_text(encoding="utf-8")
    told = set(re.findall(r"`_?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", page))
    assert named - NOT_VARIABLES - told == set()
    proxies = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "BIDSPLAN_COMPLETE"}
    assert told - named - proxies == through_botocore(page)


def through_botocore(page):
    """List the variables that botocore reads, of those that the page says it does."""
    table = page.partition("| through botocore |")[2].partition("\n\n")[0]
    names = ("configprovider", "credentials", "session", "utils")
    modules = [Path(botocore.__file__).with_name(f"{name}.py") for name in names]
    source = "".join(path.read_text(encoding="utf-8") for path in modules)
    return {name for name in re.findall(r"`(AWS_\w+)`", table) if f"'{name}'" in source}


def test_every_command_says_what_exit_code_1_means():
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `bidsplan (\S+)` \|", page, re.M)
    assert rows == commands.list_commands(None)


def test_terms_of_the_glossary_are_in_order_and_in_use():
    glossary = ROOT / "docs" / "reference" / "glossary.md"
    rows = re.findall(r"^\| \*?(.+?)\*?(?: \(\w+\))? \| .+ \|$", glossary.read_text("utf-8"), re.M)
    terms = rows[1:]
    assert len(terms) > 30
    plain = [term.replace(" ", "") for term in terms]
    assert plain == sorted(plain)
    others = " ".join(page.read_text("utf-8").lower() for page in PAGES if page != glossary)
    assert [term for term in terms if term.lower() not in others] == []
