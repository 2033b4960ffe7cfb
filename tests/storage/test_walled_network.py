"""Requests lead only where they may, by the address that is connected to.

Runs in a network of its own, in which link-local, private and public addresses are this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import walled
from walled import LINK_LOCAL, OTHER, PRIVATE, PUBLIC, WRAPPED

CASES = Path(walled.__file__)
WALLED = ["unshare", "--net", "--map-root-user"]

BROUGHT = "listed sub-1/a.txt; fetched a.txt"
REFUSED = "listed refused-host; fetched refused-host"
# Another run, under rules of its own, refuses the URL itself by then.
REFUSED_AT_ONCE = "listed refused-host; fetched url"

EXPECTED = {
    **{
        f"redirect to {host}, untrusted {flag}": BROUGHT
        for host in (PUBLIC, OTHER)
        for flag in (True, False)
    },
    f"redirect to {PRIVATE}, untrusted True": REFUSED,
    f"redirect to {PRIVATE}, untrusted False": BROUGHT,
    **{
        f"redirect to {host}, untrusted {flag}": REFUSED
        for host in (LINK_LOCAL, *WRAPPED)
        for flag in (True, False)
    },
    **{
        f"redirect to {target}": REFUSED
        for target in ("ftp://1.2.3.5", "file://", "http://2852039166", "http://u:p@1.2.3.5")
    },
    "redirect to a mapped address": REFUSED,
    "second hop to a private host": REFUSED,
    "rebinding to private, untrusted True": REFUSED_AT_ONCE,
    "rebinding to private, untrusted False": BROUGHT,
    "rebinding to link-local, untrusted True": REFUSED_AT_ONCE,
    "rebinding to link-local, untrusted False": REFUSED,
    "rebinding to loopback, untrusted True": REFUSED_AT_ONCE,
    "rebinding to loopback, untrusted False": BROUGHT,
    "a name of a link-local host": REFUSED,
    "a link-local endpoint by obstore": "refused-host",
    "a link-local endpoint by fsspec": "refused-host",
}


@pytest.fixture(scope="module")
def came():
    if not shutil.which("ip") or subprocess.run([*WALLED, "true"], check=False).returncode:
        pytest.skip("networks of one's own can't be made here")
    run = subprocess.run(
        [*WALLED, sys.executable, CASES], check=True, capture_output=True, timeout=50, text=True
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {name: (found, requests) for name, found, requests in lines}


@pytest.mark.parametrize("case", EXPECTED)
def test_requests_lead_only_where_they_may(came, case):
    found, requests = came[case]
    assert found == EXPECTED[case]
    assert requests > 0 or EXPECTED[case] != BROUGHT
    assert requests == 0 or EXPECTED[case] == BROUGHT


def test_every_case_is_expected(came):
    assert set(came) == set(EXPECTED)
