"""A study on S3 that can be downloaded."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Self

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.s3bids.arguments import check_directory, download_options
from bidsplan.s3bids.delivery import deliver, plan_of
from bidsplan.s3bids.fetching import document_of, fetch, manifest_of
from bidsplan.s3bids.listed_study import ListedStudy
from bidsplan.s3bids.manifests import agnostic_names
from bidsplan.s3bids.subject import S3BIDSSubject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

    from bidsplan.manifest import Manifest
    from bidsplan.s3bids.arguments import Derivs, DownloadOptions
    from bidsplan.storage import Object


class S3BIDSStudy(ListedStudy):
    """A BIDS study on S3, as its bucket was when this was made.

    Parameters
    ----------
    study_id : str
        A name for people.
    bucket : str
    s3_prefix : str
        Where in the bucket the study lies; empty for the bucket's top.
    subjects : str, int, sequence of str, sequence of int, or None
        ``all``, an identifier such as ``sub-01``, or identifiers. An int n draws n subjects, and
        ints are places in the order of the draw, counted from 0. None draws one.
    anon : bool
        Whether requests go unsigned. Else credentials are found as the AWS tools find them.
    use_participants_tsv : bool
        Whether the study's subjects are those of its ``participants.tsv``, and not its directories.
    random_seed : int, optional
        Of the draw, below 2**32. The same seed draws the same subjects as pyAFQ does. Without one,
        each study draws others.
    _subject_class : type
        What makes subjects; called with `subject_id` and `study`. One that is no `S3BIDSSubject`,
        or that has a ``download`` of its own, has that called for each subject.

    Attributes
    ----------
    download_arguments : dict
        The arguments of `download` that a manifest said; empty where the study is of none.

    Raises
    ------
    ArgumentTypeError
        Where an argument has another type.
    UsageError
        Where `subjects` are not in the study.
    SourceMissingError
        Where there is no study, or no table of participants.
    StorageError, UrlError
        Where it can't be listed.

    Examples
    --------
    >>> from bidsplan.s3bids import S3BIDSStudy
    >>> study = S3BIDSStudy(  # doctest: +SKIP
    ...     "ds000114", "openneuro.org", "ds000114", subjects=2, random_seed=42
    ... )
    >>> study.download("ds000114")  # doctest: +SKIP
    """

    def download(
        self,
        directory: str,
        include_modality_agnostic: bool | str | Sequence[str] = (DESCRIPTION,),
        include_derivs: Derivs = False,
        include_derivs_dataset_description: bool = True,
        suffix: str | None = None,
        overwrite: bool = False,
        pbar: bool = True,
    ) -> None:
        """Download the files of all subjects of the study.

        Parameters
        ----------
        directory : str
            Where to; made where it is not there.
        include_modality_agnostic : bool, ``all``, or sequence of str
            Files at the study's root: all, none, or some of ``dataset_description.json``,
            ``CHANGES``, ``README`` and ``LICENSE``. With any of them comes the description.
        include_derivs : bool, str or sequence of str
            All derivatives, none, or pipelines by name: ``afq`` is not ``afq2``, and ``afq*`` is
            both.
        include_derivs_dataset_description : bool
            Whether the descriptions of these derivatives come along.
        suffix : str, optional
            What names of subjects' files end in, with the extension.
        overwrite : bool
            Whether to replace files that differ; else they are left as they are, and warned of.
        pbar : bool
            Whether to draw a progress bar.

        Raises
        ------
        ArgumentTypeError
            Where an argument has another type.
        UsageError
            Where `include_modality_agnostic` lists other names than it may.
        BidsplanError
            Where files could not be brought. The others were, whole and checked.
        """
        options = self._wish(
            include_modality_agnostic=include_modality_agnostic,
            include_derivs=include_derivs,
            include_derivs_dataset_description=include_derivs_dataset_description,
            suffix=suffix,
            overwrite=overwrite,
            pbar=pbar,
        )
        self._bring(options, directory, overwrite=overwrite, pbar=pbar)

    def _wish(self, **arguments: Any) -> DownloadOptions:
        return download_options(**arguments)

    def _bring(
        self, options: DownloadOptions, directory: str, *, overwrite: bool, pbar: bool
    ) -> None:
        check_directory(directory)
        if directory not in self._local_directories:
            self._local_directories.append(directory)
        if all(_is_ours(subject) for subject in self.subjects):
            fetch(self, self.subjects, options, directory, overwrite=overwrite, pbar=pbar)
            return
        # Somebody's own subjects know best how to download themselves.
        self._download_non_sub_keys(directory, select=options.agnostic)
        if options.descriptions:
            self._download_derivative_descriptions(options.derivatives, directory)
        for number, subject in enumerate(self.subjects):
            subject.download(
                directory=directory,
                include_derivs=options.derivatives,
                suffix=options.suffix or None,
                overwrite=overwrite,
                pbar=pbar,
                pbar_idx=number,
            )

    def _download_non_sub_keys(
        self,
        directory: str,
        select: str | Sequence[str] = (DESCRIPTION,),
        filenames: Iterable[str] | None = None,
    ) -> None:
        """Download files that are no subject's, straight into a directory.

        Parameters
        ----------
        directory : str
        select : ``all``, or sequence of str
            Names; ``README`` is also ``README.md``. What is there is replaced.
        filenames : iterable of str, optional
            What to choose from, named as in `non_sub_s3_keys`, of which the ``raw`` ones are the
            default. Directories are passed over.

        Raises
        ------
        BidsplanError
            Where files could not be brought. The others were.
        """
        names = self.non_sub_s3_keys["raw"] if filenames is None else filenames
        found: dict[str, Object] = {}
        for name in names:
            home, _, base = self.snapshot.path(name).rpartition("/")
            files = self.snapshot.survey(f"{home}/" if home else "").files
            if base in files and agnostic_names([base], select):
                found[base] = files[base]
        self._deliver(found, directory)

    def _download_derivative_descriptions(
        self,
        include_derivs: Derivs,
        directory: str,
    ) -> None:
        """Download the descriptions of derivatives into ``derivatives/<pipeline>/``.

        Parameters
        ----------
        include_derivs : bool, str or sequence of str
            As in `download`.
        directory : str

        Raises
        ------
        ArgumentTypeError
            Where `include_derivs` has another type.
        BidsplanError
            Where files could not be brought. The others were.
        """
        options = download_options(include_derivs=include_derivs)
        found: dict[str, Object] = {}
        for kind in self.derivative_types:
            name = self.snapshot.pipeline(kind)
            files = self.snapshot.survey(f"derivatives/{name}/").files
            if DESCRIPTION in files and options.takes(name, kind):
                found[f"derivatives/{name}/{DESCRIPTION}"] = files[DESCRIPTION]
        self._deliver(found, directory)

    def _deliver(self, objects: dict[str, Object], directory: str) -> None:
        if objects:
            plan = plan_of(objects, self.snapshot.url, anonymous=self.anon)
            deliver(plan, directory, overwrite=True, pbar=False).check()

    def to_manifest(self, **download_arguments: Any) -> Manifest:
        """Give the manifest that fetches what a download would.

        Parameters
        ----------
        **download_arguments
            Those of `download`, but for its directory.

        Returns
        -------
        Manifest
            It names the study's subjects, unless they are all there are.

        Raises
        ------
        TypeError
            Where `download` has no such argument, or not of this type.
        UsageError
            Where `download` would raise it.
        ManifestError
            Where the study has a name, or its files have names, that no manifest may have.
        """
        return manifest_of(self._document(download_arguments))

    def to_yaml(self, **download_arguments: Any) -> str:
        """Give the same as `to_manifest`, as the text of a file.

        Parameters
        ----------
        **download_arguments
            Those of `download`, but for its directory.

        Returns
        -------
        str

        Raises
        ------
        TypeError, UsageError, ManifestError
            As `to_manifest`.
        """
        from bidsplan.manifest.dump import manifest_yaml  # imports YAML

        self.to_manifest(**download_arguments)
        return manifest_yaml(self._document(download_arguments))

    def _document(self, download_arguments: dict[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self.download).bind("", **download_arguments)
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name != "directory"}
        return document_of(self, self.subjects, self._wish(**arguments), named=not self._everyone)

    @classmethod
    def from_manifest(cls, path: str | PathLike[str]) -> Self:
        """Make the study, with its subjects, that a manifest describes.

        Parameters
        ----------
        path : str or path
            Of a manifest.

        Returns
        -------
        S3BIDSStudy
            An `HBNSite` where the manifest is of one. Its `download_arguments` are those that
            bring what the manifest asks for; what they can't say is warned of.

        Raises
        ------
        ManifestError
            Where it is not a valid manifest.
        UnsupportedError
            Where it is no single dataset on S3, or not one of this class.
        SelectionError, StorageError
            Where the subjects can't be chosen.
        """
        from bidsplan.s3bids.from_manifest import study_of  # imports YAML

        return study_of(path, cls)


def _is_ours(subject: object) -> bool:
    return isinstance(subject, S3BIDSSubject) and type(subject).download is S3BIDSSubject.download
