"""pyAFQ's functions that list or download objects on S3."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from bidsplan.errors import LibraryError, SourceMissingError
from bidsplan.help_codes import HelpCode
from bidsplan.s3bids.download import fetch_objects
from bidsplan.storage import Access, open_store
from bidsplan.storage.retry import retrying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.storage import Store


_OF_SUBJECT = re.compile(r"/sub-[0-9a-zA-Z+]")


def get_s3_client(anon: bool = True) -> Any:
    """Create a boto3 client for S3 with a session of its own.

    Parameters
    ----------
    anon : bool
        Whether the client's requests are unsigned. Otherwise boto3 looks for credentials as usual.

    Returns
    -------
    boto3 client

    Raises
    ------
    LibraryError
        If boto3 is not installed.
    """
    try:
        import boto3  # optional
    except ImportError as error:
        raise LibraryError(
            "get_s3_client needs boto3, which is not installed; pip install 'bidsplan[s3bids]'"
        ) from error
    from botocore import UNSIGNED  # comes with boto3
    from botocore.config import Config

    # Sessions are not thread-safe, so each client has its own.
    config = Config(signature_version=UNSIGNED) if anon else None
    return boto3.session.Session().client("s3", config=config)


def _ls_s3fs(s3_prefix: str, anon: bool = True) -> dict[str, list[str]]:
    """List the files and directories directly below a prefix.

    Parameters
    ----------
    s3_prefix : str
        The bucket's name, a slash, and the prefix.
    anon : bool
        Whether requests are unsigned.

    Returns
    -------
    dict
        Two lists of sorted names, each of which starts with the bucket's name. ``subjects`` has the
        names that start with ``sub-`` or are inside a subject's directory, and ``other`` all
        others.

    Raises
    ------
    SourceMissingError, StorageError, UrlError
        If nothing is below the prefix, or it can't be listed.
    """
    place = s3_prefix.removeprefix("s3://").strip("/")
    url = f"s3://{place}"
    with open_store(url, access=Access(), anonymous=anon) as store:
        found = store.children()
    names = [item.key for item in found.objects]
    names += [directory.rstrip("/") for directory in found.directories]
    if not names:
        raise SourceMissingError(
            f"{url}: there is nothing here; check its spelling", help_code=HelpCode.STUDY_MISSING
        )
    entries: dict[str, list[str]] = {"subjects": [], "other": []}
    for name in sorted(f"{place}/{name}" for name in names):
        entries["subjects" if _OF_SUBJECT.search(name) else "other"].append(name)
    return entries


def _get_matching_s3_keys(
    bucket: str, prefix: str = "", suffix: str = "", anon: bool = True
) -> Iterator[str]:
    """List the keys with a prefix and a suffix, page by page.

    Parameters
    ----------
    bucket : str
    prefix : str
        The start of the keys. It may end within a name.
    suffix : str
        The end of the keys.
    anon : bool
        Whether requests are unsigned.

    Yields
    ------
    str
        Keys in the order of S3.

    Raises
    ------
    SourceMissingError, StorageError, UrlError
        If the bucket does not exist, or can't be listed.
    """
    with open_store(f"s3://{bucket}", access=Access(), anonymous=anon) as store:
        for key in _keys(store, prefix):
            if key.endswith(suffix):
                yield key


def _keys(store: Store, prefix: str) -> Iterator[str]:
    """List the keys with a prefix, although stores list only whole directories."""
    directory, slash, start = prefix.rpartition("/")
    if not start:
        yield from (item.key for item in store.list(prefix))
        return
    found = store.children(directory + slash)
    names = [*(item.key for item in found.objects), *found.directories]
    for name in sorted(name for name in names if name.startswith(prefix)):
        if name.endswith("/"):
            yield from (item.key for item in store.list(name))
        else:
            yield name


def _download_from_s3(
    fname: str, bucket: str, key: str, overwrite: bool = False, anon: bool = True
) -> None:
    """Download one object to a local file, atomically, and check it.

    Parameters
    ----------
    fname : str
        The local file. Its directory is created if it does not exist.
    bucket, key : str
    overwrite : bool
        Whether to replace an existing file. Otherwise an existing file is kept, and no request is
        sent.
    anon : bool
        Whether requests are unsigned.

    Raises
    ------
    SourceMissingError, SourceChangedError, DeniedError, StorageError
        If the object can't be read.
    IntegrityError
        If the bytes that arrive are not those of the object.
    DestinationError
        If the file can't be written.
    """
    if os.path.lexists(fname) and not overwrite:
        return
    directory, name = os.path.split(fname)
    url = f"s3://{bucket}"
    with open_store(url, access=Access(), anonymous=anon) as store:
        found = retrying()(store.version_of, key)
    fetch_objects({name: found}, url, directory or ".", anonymous=anon, overwrite=overwrite)
