"""A study on S3 that can be downloaded."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.s3bids import manifests
from bidsplan.s3bids.arguments import check_instance, check_subjects, download_options
from bidsplan.s3bids.download import fetch, fetch_objects
from bidsplan.s3bids.listed_study import ListedStudy
from bidsplan.s3bids.subject import S3BIDSSubject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

    from bidsplan.manifest import Manifest
    from bidsplan.s3bids.arguments import Derivs, DownloadOptions
    from bidsplan.storage import Object


class S3BIDSStudy(ListedStudy):
    """A BIDS study on S3, listed when it is made.

    Parameters
    ----------
    study_id : str
        Any name.
    bucket : str
    s3_prefix : str
        The prefix of the study's keys; empty for the top of the bucket.
    subjects : str, int, sequence of str, sequence of int, or None
        ``all``, an identifier such as ``sub-01``, or identifiers. An int n draws n subjects; ints
        are positions in the order of the draw, from 0. None draws one.
    anon : bool
        Whether requests are unsigned. Else credentials are found as the AWS tools find them.
    use_participants_tsv : bool
        Whether to take the subjects from ``participants.tsv``, and not from the directories.
    random_seed : int, optional
        Of the draw, below 2**32. The same seed draws the same subjects as pyAFQ does. Without one,
        each study draws others.
    _subject_class : type
        Called with `subject_id` and `study` to make a subject. If it is no `S3BIDSSubject`, or
        overrides ``download``, that method is called for each subject.

    Attributes
    ----------
    download_arguments : dict
        The arguments of `download` that a manifest asks for; empty without a manifest.

    Raises
    ------
    ArgumentTypeError
        Where an argument has another type.
    UsageError
        Where `subjects` are not in the study.
    SourceMissingError
        Where there is no study, or no ``participants.tsv``.
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

    _sites: ClassVar[tuple[str, ...]] = ()
    """The sites of subject-first layout that the class is for."""

    def __init__(
        self,
        study_id: str,
        bucket: str,
        s3_prefix: str = "",
        subjects: str | int | Sequence[str] | Sequence[int] | None = None,
        anon: bool = True,
        use_participants_tsv: bool = False,
        random_seed: int | None = None,
        _subject_class: Any = S3BIDSSubject,
    ) -> None:
        wanted = check_subjects(subjects)
        super().__init__(
            study_id,
            bucket,
            s3_prefix,
            anon=anon,
            use_participants_tsv=use_participants_tsv,
            random_seed=random_seed,
        )
        self._subject_class = _subject_class
        self._local_directories: list[str] = []
        self.download_arguments: dict[str, Any] = {}
        # A manifest need not name the subjects that it finds by their directories.
        self._everyone = wanted == "all" and not use_participants_tsv
        chosen = self._choose(wanted)
        self._list_ahead(chosen)
        self._subjects = [self._get_subject(subject_id) for subject_id in chosen]

    @property
    def subjects(self) -> list[Any]:
        """The selected subjects, as drawn or as named; all of them sorted."""
        return self._subjects

    @property
    def local_directories(self) -> list[str]:
        """The directories that the study was downloaded to, in that order."""
        return self._local_directories

    def _get_subject(self, subject_id: str) -> Any:
        """Make a subject."""
        return self._subject_class(subject_id=subject_id, study=self)

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
            The destination; created if missing.
        include_modality_agnostic : bool, ``all``, or sequence of str
            Files at the study's root: all, none, or some of ``dataset_description.json``,
            ``CHANGES``, ``README`` and ``LICENSE``. Any of them brings the description as well.
        include_derivs : bool, str or sequence of str
            All derivatives, none, or pipelines by name: ``afq`` is not ``afq2``, and ``afq*`` is
            both.
        include_derivs_dataset_description : bool
            Whether to download the descriptions of these derivatives.
        suffix : str, optional
            The end of subjects' file names, with the extension.
        overwrite : bool
            Whether to replace files that differ; else they are left as they are, with a warning.
        pbar : bool
            Whether to draw a progress bar.

        Raises
        ------
        ArgumentTypeError
            Where an argument has another type.
        UsageError
            Where `include_modality_agnostic` contains other names than these four.
        BidsplanError
            Where files could not be fetched. All others were, and are complete.
        """
        options = self._options(
            include_modality_agnostic=include_modality_agnostic,
            include_derivs=include_derivs,
            include_derivs_dataset_description=include_derivs_dataset_description,
            suffix=suffix,
            overwrite=overwrite,
            pbar=pbar,
        )
        check_instance("directory", directory, str, "a string")
        if directory not in self._local_directories:
            self._local_directories.append(directory)
        if not all(_is_ours(subject) for subject in self.subjects):
            self._download_each(directory, options)
            return
        delivery = fetch(self, self._keys(), options, directory)
        for subject in self.subjects:
            subject.record(delivery.files, options)
        delivery.check()

    def _options(self, **arguments: Any) -> DownloadOptions:
        return download_options(described=bool(self._sites), **arguments)

    def _keys(self) -> dict[str, Any]:
        return {subject.subject_id: subject.s3_keys for subject in self.subjects}

    def _download_each(self, directory: str, options: DownloadOptions) -> None:
        """Download subjects by the ``download`` of their own class."""
        self._download_non_sub_keys(directory, select=options.agnostic)
        if options.descriptions:
            self._download_derivative_descriptions(options.derivatives, directory)
        for number, subject in enumerate(self.subjects):
            subject.download(
                directory=directory,
                include_derivs=options.derivatives,
                suffix=options.suffix or None,
                overwrite=options.overwrite,
                pbar=options.pbar,
                pbar_idx=number,
            )

    def _download_non_sub_keys(
        self,
        directory: str,
        select: str | Sequence[str] = (DESCRIPTION,),
        filenames: Iterable[str] | None = None,
    ) -> None:
        """Download files that belong to no subject into a directory, overwriting.

        `select` is ``all``, or names, of which ``README`` is also ``README.md``. `filenames` are
        named as in `non_sub_s3_keys`, whose ``raw`` is the default.
        """
        names = self.non_sub_s3_keys["raw"] if filenames is None else filenames
        found: dict[str, Object] = {}
        for name in names:
            home, slash, base = self.snapshot.path(name).rpartition("/")
            files = self.snapshot.listing(home + slash).files
            if base in files and manifests.agnostic_names([base], select):
                found[base] = files[base]
        self._deliver(found, directory)

    def _download_derivative_descriptions(self, include_derivs: Derivs, directory: str) -> None:
        """Download the descriptions of derivatives into ``derivatives/<pipeline>/``."""
        options = download_options(include_derivs=include_derivs)
        found: dict[str, Object] = {}
        for kind in self.derivative_types:
            name = self.snapshot.pipeline(kind)
            files = self.snapshot.listing(f"derivatives/{name}/").files
            if DESCRIPTION in files and options.takes(name, kind):
                found[f"derivatives/{name}/{DESCRIPTION}"] = files[DESCRIPTION]
        self._deliver(found, directory)

    def _deliver(self, objects: dict[str, Object], directory: str) -> None:
        if objects:
            url = self.snapshot.url
            fetch_objects(objects, url, directory, anonymous=self.anon, overwrite=True)

    def to_manifest(self, **download_arguments: Any) -> Manifest:
        """Return the manifest that fetches what a download would.

        Parameters
        ----------
        **download_arguments
            Those of `download`, except its directory.

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
            Where the study or its files have a name that no manifest may have.
        """
        return manifests.manifest_of(self._document(download_arguments))

    def to_yaml(self, **download_arguments: Any) -> str:
        """Return the text of a file with the manifest of `to_manifest`.

        Parameters
        ----------
        **download_arguments
            Those of `download`, except its directory.

        Returns
        -------
        str

        Raises
        ------
        TypeError, UsageError, ManifestError
            As `to_manifest`.
        """
        from bidsplan.manifest.dump import manifest_yaml  # imports YAML

        document = self._document(download_arguments)
        manifests.manifest_of(document)
        return manifest_yaml(document)

    def _document(self, download_arguments: dict[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self.download).bind("", **download_arguments)
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name != "directory"}
        options = self._options(**arguments)
        return manifests.document_of(self, self._keys(), options, named=not self._everyone)

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
            fetch what the manifest asks for; a warning names what they can't express.

        Raises
        ------
        ManifestError
            Where it is not a valid manifest.
        UnsupportedError
            Where it is no single dataset on S3, or not one of this class.
        SelectionError, StorageError
            Where the subjects can't be selected.
        """
        from bidsplan.manifest.load import load_manifest  # imports YAML

        loaded = load_manifest(path)
        kinds = {
            site: kind
            for kind in S3BIDSStudy.__subclasses__()
            for site in kind._sites  # noqa: SLF001 - of a subclass
        }
        manifests.check_manifest(loaded, cls.__name__, kinds, subject_first=bool(cls._sites))
        arguments = manifests.study_arguments(loaded)
        kind = cls if cls._sites else kinds.get(arguments.get("site", ""), cls)
        study = cast("Self", kind(**arguments))
        study.download_arguments = manifests.download_arguments(loaded.manifest)
        described = study.to_manifest(**study.download_arguments)
        manifests.warn_lost(loaded.manifest, described)
        return study


def _is_ours(subject: object) -> bool:
    return isinstance(subject, S3BIDSSubject) and type(subject).download is S3BIDSSubject.download
