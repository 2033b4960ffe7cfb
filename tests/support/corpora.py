"""Real listings to test against, where they are at hand.

They are not part of the project. ``BIDSPLAN_CORPORA`` names their folder; tests that need them skip
where there is none.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(
    os.environ.get("BIDSPLAN_CORPORA") or Path(__file__).resolve().parents[3] / "shared" / "corpora"
)

needs_corpora = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no corpora here; BIDSPLAN_CORPORA names their folder"
)
