from __future__ import annotations

import os

import pytest

from lab import Lab


@pytest.fixture
def lab(tmp_path, monkeypatch, ask, bucket, proxy):
    """Give a folder where errors are brought about, and go there."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    # What is tried again fails in the end as at first.
    monkeypatch.setattr("bidsplan.storage.retry._UNREACHABLE_TRIES", 1)
    monkeypatch.setattr("bidsplan.storage.retry._THROTTLED_TRIES", 1)
    return Lab(folder, monkeypatch, ask, bucket, proxy)
