"""Who does what the entry of an error says, sees the error gone."""

from __future__ import annotations

import pytest

import mended_files
import mended_places
import mended_requests
import mended_studies
from bidsplan.help_codes import HelpCode
from mending import BLOCKS, MENDED, Entry

assert MENDED.keys() == set(HelpCode), (
    mended_files,
    mended_places,
    mended_requests,
    mended_studies,
)


@pytest.mark.parametrize("code", HelpCode, ids=lambda code: code.topic)
def test_what_an_entry_says_mends_its_error(code, lab, ask):
    entry = Entry(code, lab, ask)
    try:
        MENDED[code](lab, entry)
        entry.finish()
    finally:
        entry.close()


def test_few_blocks_are_not_run():
    shown = [block for block in BLOCKS if block.kind]
    assert len(shown) > 70
    assert len([block for block in shown if block.skipped]) < 12
