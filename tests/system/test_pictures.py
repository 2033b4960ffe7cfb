"""The picture of a session shows what its commands print."""

from __future__ import annotations

import html
import re
import sys

from setups import ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))

from draw_pictures import PICTURES, run_session


def test_the_picture_of_a_session_is_current():
    svg = (PICTURES / "session.svg").read_text(encoding="utf-8")
    pieces = re.findall(r'<text [^>]*\by="([0-9.]+)"[^>]*>(.*?)</text>', svg)
    lines = {}
    for height, text in pieces:
        lines[float(height)] = lines.get(float(height), "") + html.unescape(text)
    shown = [lines[height].replace("\N{NO-BREAK SPACE}", " ").rstrip() for height in sorted(lines)]
    printed = [line.rstrip() for line in run_session()]
    assert [line for line in shown if line] == [line for line in printed if line]
    assert len(printed) <= 30


def test_pictures_need_no_other_file():
    svg = (PICTURES / "session.svg").read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|href=|@import|<script", svg)
