"""pyAFQ's classes and functions for BIDS studies on S3.

The names and signatures are the same as in ``AFQ.data.s3bids``, the package ``s3bids`` on PyPI.
"""

from __future__ import annotations

from bidsplan.s3bids.functions import (
    _download_from_s3,
    _get_matching_s3_keys,
    _ls_s3fs,
    get_s3_client,
)
from bidsplan.s3bids.hbn import HBNSite, HBNSubject
from bidsplan.s3bids.images import (
    read_json,
    s3fs_json_read,
    s3fs_json_write,
    s3fs_nifti_read,
    s3fs_nifti_write,
    write_json,
)
from bidsplan.s3bids.study import S3BIDSStudy
from bidsplan.s3bids.subject import S3BIDSSubject

__all__ = [
    "HBNSite",
    "HBNSubject",
    "S3BIDSStudy",
    "S3BIDSSubject",
    "_download_from_s3",
    "_get_matching_s3_keys",
    "_ls_s3fs",
    "get_s3_client",
    "read_json",
    "s3fs_json_read",
    "s3fs_json_write",
    "s3fs_nifti_read",
    "s3fs_nifti_write",
    "write_json",
]
