"""No command writes a secret, whatever happens; `canary_runs` as a script tries far more."""

from __future__ import annotations

import base64

import pytest

from canary_cases import CANARY, KNOWN, WAYS, cases
from canary_runs import Ground, leaks_in, quick_tries


@pytest.fixture
def ground(moto, tmp_path):
    found = Ground(tmp_path.resolve(), moto)
    with quick_tries():
        yield found
    found.stop()


def test_no_secret_comes_out_of_any_command(ground):
    ways = list(WAYS)
    leaks = []
    # Each kind of command and failure, each with another way of hiding the canary.
    for number, case in enumerate(cases()[::8]):
        leaks += ground.run(case, ways[number % len(ways)])
    assert [str(leak) for leak in leaks if leak.case.kind not in KNOWN] == []
    # Some succeeded, some failed, and some were refused.
    assert min(ground.codes[code] for code in (0, 1, 2)) > 3
    assert ground.codes.total() == sum(ground.codes[code] for code in (0, 1, 2))


@pytest.mark.parametrize("before", range(3))
def test_a_canary_is_found_in_any_encoding(before):
    user_info = b"x" * before + b":" + CANARY.encode() + b"-endpoint"
    assert leaks_in(b"a\n" + user_info)
    assert leaks_in(b"Authorization: Basic " + base64.b64encode(user_info))
    assert leaks_in(user_info.hex().encode())
    assert leaks_in(user_info.hex().upper().encode())
    assert leaks_in("".join(f"%{byte:02X}" for byte in user_info).encode())
    assert not leaks_in(b"cAnArY")
