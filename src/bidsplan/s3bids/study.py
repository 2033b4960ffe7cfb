"""The class of a study on S3 that can be downloaded."""

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
    """A BIDS study on S3, whose files are listed when the object is created.

    Parameters
    ----------
    study_id : str
        A name of your choice.
    bucket : str
        The name of the bucket.
    s3_prefix : str
        The prefix of the study's keys. It is empty if the study is at the top of the bucket.
    subjects : str, int, sequence of str, sequence of int, or None
        The subjects to select: ``all``, an identifier such as ``sub-01``, or a list of identifiers.
        An integer n selects n random subjects. A list of integers selects positions in the random
        order, counted from 0. None selects one random subject.
    anon : bool
        Whether requests are unsigned. Otherwise bidsplan finds credentials as the AWS tools do.
    use_participants_tsv : bool
        Whether to read the subjects from ``participants.tsv`` instead of the directory names.
    random_seed : int, optional
        The seed of the random order, below 2**32. A seed selects the same subjects as in pyAFQ.
        Without a seed, each new study selects different subjects.
    _subject_class : type
        The class of the subjects, which is called with `subject_id` and `study`. If it overrides
        ``download``, or is not an `S3BIDSSubject`, the study's `download` calls that method for
        each subject.

    Attributes
    ----------
    download_arguments : dict
        For a study made by `from_manifest`, the arguments of `download` that fetch what the
        manifest selects; otherwise empty.

    Raises
    ------
    ArgumentTypeError
        If an argument has the wrong type.
    UsageError
        If one of `subjects` is not in the study.
    SourceMissingError
        If the study, or its ``participants.tsv``, does not exist.
    StorageError, UrlError
        If the study can't be listed.

    Examples
    --------
    >>> from bidsplan.s3bids import S3BIDSStudy
    >>> study = S3BIDSStudy(  # doctest: +SKIP
    ...     "ds000114", "openneuro.org", "ds000114", subjects=2, random_seed=42
    ... )
    >>> study.download("ds000114")  # doctest: +SKIP
    """

    _sites: ClassVar[tuple[str, ...]] = ()
    """The sites that the class is for, whose derivatives are grouped by subject."""

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
        # If all directories' subjects are selected, a manifest need not name them.
        self._everyone = wanted == "all" and not use_participants_tsv
        chosen = self._choose(wanted)
        self._list_ahead(chosen)
        self._subjects = [self._get_subject(subject_id) for subject_id in chosen]

    @property
    def subjects(self) -> list[Any]:
        """The selected subjects, in the random or the given order; ``all`` are sorted."""
        return self._subjects

    @property
    def local_directories(self) -> list[str]:
        """The directories that the study was downloaded to, the first download first."""
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
            The destination, which is created if it does not exist.
        include_modality_agnostic : bool, ``all``, or sequence of str
            The files at the study's root to download: all, none, or some of
            ``dataset_description.json``, ``CHANGES``, ``README`` and ``LICENSE``. With any of them,
            ``dataset_description.json`` is downloaded too.
        include_derivs : bool, str or sequence of str
            The derivatives to download: all, none, or pipelines by name. ``afq`` selects only the
            pipeline of this name, and ``afq*`` also selects ``afq2``.
        include_derivs_dataset_description : bool
            Whether to download the ``dataset_description.json`` of these derivatives.
        suffix : str, optional
            The end of the names of the subjects' files to download, with the extension.
        overwrite : bool
            Whether to replace existing files that differ. Otherwise they are kept, with a warning.
        pbar : bool
            Whether to draw a progress bar.

        Raises
        ------
        ArgumentTypeError
            If an argument has the wrong type.
        UsageError
            If `include_modality_agnostic` contains a name other than these four.
        BidsplanError
            If files could not be fetched. All other files are complete.
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
        """Download each subject with the ``download`` method of its class."""
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
        """Download files that belong to no subject, and replace existing ones.

        `select` is ``all`` or names, and ``README`` also selects ``README.md``. `filenames` are
        written as in `non_sub_s3_keys`; the default is its ``raw``.
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
        """Return a manifest that fetches the same files as `download`.

        Parameters
        ----------
        **download_arguments
            The arguments of `download`, except `directory`.

        Returns
        -------
        Manifest
            It names the study's subjects, unless all subjects are selected.

        Raises
        ------
        TypeError
            If `download` does not have such an argument, or the argument has the wrong type.
        UsageError
            If `download` would raise a UsageError with these arguments.
        ManifestError
            If the study or one of its files has a name that is not allowed in a manifest.
        """
        return manifests.manifest_of(self._document(download_arguments))

    def to_yaml(self, **download_arguments: Any) -> str:
        """Return the manifest of `to_manifest` as the text of a YAML file.

        Parameters
        ----------
        **download_arguments
            The arguments of `download`, except `directory`.

        Returns
        -------
        str

        Raises
        ------
        TypeError, UsageError, ManifestError
            As in `to_manifest`.
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
        """Create a study with the subjects that a manifest selects.

        Parameters
        ----------
        path : str or path
            The manifest's file.

        Returns
        -------
        S3BIDSStudy
            An `HBNSite` if the manifest is for such a site. Pass the study's `download_arguments`
            to `download` to fetch what the manifest selects. A warning names the parts of the
            manifest that these arguments can't express.

        Raises
        ------
        ManifestError
            If the file is not a valid manifest.
        UnsupportedError
            If the manifest is not for a single dataset on S3, or this class can't represent it.
        SelectionError, StorageError
            If the subjects can't be selected.
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
