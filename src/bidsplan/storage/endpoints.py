"""Where requests to S3 go, found as cheaply as a run with nothing to do may take."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsplan.storage.access import Access

__all__ = ["find_endpoint"]

_CONFIG_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
_CONFIG_LIMIT = 1 << 20
_OTHER_PARTITION = r"(?:cn|us-gov|us-iso|eu-iso|eusc)[a-z0-9]*-"
_TELLING = rf"endpoint_url|region\s*=\s*{_OTHER_PARTITION}"
"""What in the AWS configuration may send requests elsewhere than to the usual partition."""


def find_endpoint(access: Access) -> str | None:
    """Find the endpoint that `connect` would resolve, without botocore where it is not needed.

    Parameters
    ----------
    access : Access

    Returns
    -------
    str or None
        None for Amazon's own endpoints in its usual partition. It may hold user info: it must
        not be written anywhere.

    Raises
    ------
    UsageError
        Where the configuration can't be used.
    """
    if access.endpoint_url:
        return access.endpoint_url
    region = access.region or os.environ.get("AWS_DEFAULT_REGION") or ""
    if re.match(_OTHER_PARTITION, region) or _is_configured():
        from bidsplan.storage.connection import resolved_endpoint  # noqa: PLC0415 - see above

        return resolved_endpoint(access)
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _is_configured() -> bool:
    """Tell whether an AWS configuration file may say something of the endpoint."""
    for name, usual in _CONFIG_FILES.items():
        with suppress(OSError, RuntimeError):
            path = Path(os.environ.get(name) or usual).expanduser()
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(_CONFIG_LIMIT + 1)
            if len(text) > _CONFIG_LIMIT or re.search(_TELLING, text.lower()):
                return True
    return False
