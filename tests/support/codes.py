"""Messages of the command line without the codes that errors end with."""

from __future__ import annotations

import re

from bidsplan.help_codes import help_line


def without_codes(err):
    """Return messages without codes, once each error has one and the last line names them all."""
    *lines, last = err.splitlines() or [""]
    codes = {found[1] for line in lines if (found := re.search(r" \[(BP\d{3})\]$", line))}
    if not codes:
        assert "BP" not in last
        return err
    assert last == help_line(codes)
    return re.sub(r" \[BP\d{3}\]$", "", "\n".join(lines), flags=re.MULTILINE) + "\n"
