"""The class of a subject of a study on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from bidsplan.s3bids.arguments import check_instance, download_options
from bidsplan.s3bids.download import fetch
from bidsplan.s3bids.listed_study import ListedStudy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.s3bids.arguments import Derivs, DownloadOptions
    from bidsplan.s3bids.snapshot import Keys


class Files(TypedDict):
    """The local paths of a subject's files by key, grouped as in `Keys`."""

    raw: dict[str, str]
    derivatives: dict[str, dict[str, str]]


class S3BIDSSubject:
    """A single subject of a study on S3.

    Parameters
    ----------
    subject_id : str
        The subject's identifier, with ``sub-``.
    study : S3BIDSStudy

    Raises
    ------
    ArgumentTypeError
        If an argument has the wrong type.
    StorageError
        If the subject's files can't be listed.
    """

    def __init__(self, subject_id: str, study: ListedStudy) -> None:
        check_instance("subject_id", subject_id, str, "a string")
        check_instance("study", study, ListedStudy, "an S3BIDSStudy")
        self._subject_id = subject_id
        self._study = study
        self._files: Files | None = None
        self._s3_keys: Keys
        self._get_s3_keys()

    @property
    def subject_id(self) -> str:
        """The subject's identifier, with ``sub-``."""
        return self._subject_id

    @property
    def study(self) -> ListedStudy:
        """The subject's study."""
        return self._study

    @property
    def s3_keys(self) -> Keys:
        """The keys of the subject's files: ``{'raw': [...], 'derivatives': {type: [...]}}``."""
        return self._s3_keys

    @property
    def files(self) -> Files | None:
        """The downloaded files; None before the first download.

        The value is like `s3_keys`, but each list is a dict from the key to the absolute path.
        """
        return self._files

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(subject_id={self.subject_id}, study_id={self.study.study_id})"
        )

    def _get_s3_keys(self) -> Keys:
        """List the subject's files for `s3_keys`, and return their keys."""
        snapshot = self.study.snapshot
        raw = snapshot.subject_files("", self.subject_id)
        derived = {kind: self._derivative_files(kind) for kind in self.study.derivative_types}
        self._s3_keys = {
            "raw": [snapshot.key(path) for path in raw],
            "derivatives": {
                kind: [snapshot.key(path) for path in paths] for kind, paths in derived.items()
            },
        }
        return self._s3_keys

    def _derivative_files(self, kind: str) -> list[str]:
        """List the subject's files of a derivative type, below the study's prefix."""
        snapshot = self.study.snapshot
        return snapshot.subject_files(f"derivatives/{snapshot.pipeline(kind)}/", self.subject_id)

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
            The destination, which is created if it does not exist.
        include_derivs, overwrite, suffix, pbar
            As in `S3BIDSStudy.download`.
        pbar_idx : int
            The progress bar's line on the screen, if there are several bars.

        Raises
        ------
        ArgumentTypeError
            If an argument has the wrong type.
        BidsplanError
            If files could not be fetched. All other files are complete.
        """
        check_instance("directory", directory, str, "a string")
        options = download_options(
            include_derivs=include_derivs, overwrite=overwrite, suffix=suffix, pbar=pbar
        )
        check_instance("pbar_idx", pbar_idx, int, "an integer")
        keys = {self.subject_id: self.s3_keys}
        delivery = fetch(self.study, keys, options, directory, position=pbar_idx)
        self.record(delivery.files, options)
        delivery.check()

    def record(self, local: Mapping[str, str], options: DownloadOptions) -> None:
        """Add the downloaded files of this subject to `files`.

        `local` has absolute paths by key, also of other subjects.
        """
        files: Files = self._files or {"raw": {}, "derivatives": {}}
        keys = self.s3_keys
        files["raw"].update({key: local[key] for key in keys["raw"] if key in local})
        for kind, derived in keys["derivatives"].items():
            if options.takes(self.study.snapshot.pipeline(kind), kind):
                found = {key: local[key] for key in derived if key in local}
                files["derivatives"].setdefault(kind, {}).update(found)
        self._files = files
