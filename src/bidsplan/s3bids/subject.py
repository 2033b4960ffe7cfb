"""A subject of a study on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from bidsplan.s3bids.arguments import check_directory, check_instance, download_options
from bidsplan.s3bids.fetching import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.s3bids.arguments import Derivs, DownloadOptions
    from bidsplan.s3bids.study import S3BIDSStudy


class Keys(TypedDict):
    """A subject's keys: of its own files, and of each derivative type."""

    raw: list[str]
    derivatives: dict[str, list[str]]


class Files(TypedDict):
    """A subject's local files, by their keys."""

    raw: dict[str, str]
    derivatives: dict[str, dict[str, str]]


class S3BIDSSubject:
    """A single subject of a study on S3.

    Parameters
    ----------
    subject_id : str
        With its ``sub-``.
    study : S3BIDSStudy

    Raises
    ------
    ArgumentTypeError
        Where one has another type.
    StorageError
        Where the subject's files can't be listed.
    """

    def __init__(self, subject_id: str, study: S3BIDSStudy) -> None:
        from bidsplan.s3bids.study import S3BIDSStudy  # it makes subjects

        check_instance("subject_id", subject_id, str, "a string")
        check_instance("study", study, S3BIDSStudy, "an S3BIDSStudy")
        self._subject_id = subject_id
        self._study = study
        self._files: Files | None = None
        self._s3_keys: Keys
        self._get_s3_keys()

    @property
    def subject_id(self) -> str:
        """The subject's identifier, with its ``sub-``."""
        return self._subject_id

    @property
    def study(self) -> S3BIDSStudy:
        """The study that the subject is of."""
        return self._study

    @property
    def s3_keys(self) -> Keys:
        """The keys of the subject's files: ``{'raw': [...], 'derivatives': {type: [...]}}``."""
        return self._s3_keys

    @property
    def files(self) -> Files | None:
        """The local files, by key, that were downloaded; None before any download.

        As `s3_keys`, with a dict of key and absolute path for each list.
        """
        return self._files

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(subject_id={self.subject_id}, study_id={self.study.study_id})"
        )

    def _get_s3_keys(self) -> Keys:
        """Look for the subject's keys, in the study and in each of its derivatives.

        Returns
        -------
        dict
            What `s3_keys` gives from now on. Directories are exact: ``sub-1`` is not ``sub-10``.
        """
        snapshot = self.study.snapshot

        def keys(directory: str) -> list[str]:
            return [snapshot.key(path) for path in snapshot.subject(directory, self.subject_id)]

        self._s3_keys = {
            "raw": keys(""),
            "derivatives": {
                kind: keys(f"derivatives/{snapshot.pipeline(kind)}/")
                for kind in self.study.derivative_types
            },
        }
        return self._s3_keys

    def download(
        self,
        directory: str,
        include_derivs: Derivs = False,
        overwrite: bool = False,
        suffix: str | None = None,
        pbar: bool = True,
        pbar_idx: int = 0,
    ) -> None:
        """Download the subject's files.

        Parameters
        ----------
        directory : str
            Where to; made where it is not there.
        include_derivs : bool, str or sequence of str
            All derivatives, none, or pipelines by name: ``afq`` is not ``afq2``, and ``afq*`` is
            both.
        overwrite : bool
            Whether to replace files that differ; else they are left as they are, and warned of.
        suffix : str, optional
            What names end in, with the extension.
        pbar : bool
            Whether to draw a progress bar.
        pbar_idx : int
            The bar's line, where there are several.

        Raises
        ------
        ArgumentTypeError
            Where one has another type.
        BidsplanError
            Where files could not be brought. The others were, whole and checked.
        """
        check_directory(directory)
        options = download_options(
            include_derivs=include_derivs, overwrite=overwrite, suffix=suffix, pbar=pbar
        )
        check_instance("pbar_idx", pbar_idx, int, "an integer")
        fetch(
            self.study,
            [self],
            options,
            directory,
            overwrite=overwrite,
            pbar=pbar,
            position=pbar_idx,
        )

    def note(self, local: Mapping[str, str], options: DownloadOptions) -> None:
        """Take note of files that were downloaded.

        Parameters
        ----------
        local : mapping of str to str
            Their absolute paths by their keys; those of others are passed over.
        options : DownloadOptions
            What the download asked for.
        """
        files: Files = self._files or {"raw": {}, "derivatives": {}}
        keys = self.s3_keys
        files["raw"].update({key: local[key] for key in keys["raw"] if key in local})
        for kind, derived in keys["derivatives"].items():
            if options.takes(self.study.snapshot.pipeline(kind), kind):
                found = {key: local[key] for key in derived if key in local}
                files["derivatives"].setdefault(kind, {}).update(found)
        self._files = files
