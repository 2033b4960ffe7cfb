"""Classes for the Healthy Brain Network, whose derivatives are grouped by subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bidsplan.errors import UsageError
from bidsplan.s3bids.arguments import check_instance
from bidsplan.s3bids.study import S3BIDSStudy
from bidsplan.s3bids.subject import S3BIDSSubject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.s3bids.arguments import Derivs
    from bidsplan.s3bids.listed_study import ListedStudy


class HBNSubject(S3BIDSSubject):
    """A single subject of the Healthy Brain Network.

    Parameters
    ----------
    subject_id : str
        The subject's identifier, with ``sub-``.
    study : S3BIDSStudy
    site : str, optional
        The site where the subject was scanned.

    Raises
    ------
    ArgumentTypeError, StorageError
        As in `S3BIDSSubject`.
    """

    def __init__(self, subject_id: str, study: ListedStudy, site: str | None = None) -> None:
        check_instance("site", site, str, "a string", none=True)
        self._site = site
        super().__init__(subject_id=subject_id, study=study)

    @property
    def site(self) -> str | None:
        """The site where the subject was scanned."""
        return self._site

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(subject_id={self.subject_id}, "
            f"study_id={self.study.study_id}, site={self.site})"
        )

    def _derivative_files(self, kind: str) -> list[str]:
        """List the subject's files in ``derivatives/sub-X/<pipeline>``."""
        home = f"derivatives/{self.subject_id}/"
        [paths] = self.study.snapshot.files([home])
        return [path for path in paths if path.startswith(f"{home}{kind}/")]


class HBNSite(S3BIDSStudy):
    """A site of the Healthy Brain Network, listed when the object is created.

    Parameters
    ----------
    site : str
        ``Site-SI``, ``Site-RU``, ``Site-CBIC`` or ``Site-CUNY``.
    study_id : str
        A name of your choice.
    bucket, s3_prefix : str
        The bucket, and the prefix that the keys of all sites have in common.
    subjects, use_participants_tsv, random_seed
        As in `S3BIDSStudy`.

    Raises
    ------
    ArgumentTypeError, UsageError, SourceMissingError, StorageError, UrlError
        As in `S3BIDSStudy`. Also UsageError if there is no such site.
    """

    _sites = ("Site-SI", "Site-RU", "Site-CBIC", "Site-CUNY")

    def __init__(
        self,
        site: str,
        study_id: str = "HBN",
        bucket: str = "fcp-indi",
        s3_prefix: str = "data/Projects/HBN/MRI",
        subjects: str | int | Sequence[str] | Sequence[int] | None = None,
        use_participants_tsv: bool = False,
        random_seed: int | None = None,
    ) -> None:
        if site not in self._sites:
            raise UsageError(f"`site` must be one of {', '.join(self._sites)}; got {site!r}")
        check_instance("s3_prefix", s3_prefix, str, "a string")
        self._site = site
        super().__init__(
            study_id=study_id,
            bucket=bucket,
            s3_prefix=f"{s3_prefix}/{site}",
            subjects=subjects,
            use_participants_tsv=use_participants_tsv,
            random_seed=random_seed,
            _subject_class=HBNSubject,
        )

    @property
    def site(self) -> str | None:
        """The site's name, such as ``Site-CBIC``."""
        return self._site

    def _get_subject(self, subject_id: str) -> Any:
        """Make a subject."""
        return self._subject_class(subject_id=subject_id, study=self, site=self.site)

    def _get_derivative_types(self) -> list[str]:
        """List the sorted names of all pipelines in ``derivatives/sub-X/``."""
        names: set[str] = set()
        for listing in self.snapshot.listings(self._homes()):
            names.update(name for name in listing.directories if not name.startswith("."))
        return sorted(names)

    def _homes(self) -> list[str]:
        """List the directories of derivatives, one for each subject."""
        if "derivatives" not in self.snapshot.listing().directories:
            return []
        labels = self.snapshot.listing("derivatives/").subjects
        return [f"derivatives/sub-{label}/" for label in labels]

    def _get_non_subject_s3_keys(self) -> dict[str, list[Any]]:
        """List the values of `non_sub_s3_keys`; pipelines have no own directories."""
        derived = self.snapshot.listing("derivatives/")
        return {"raw": self._raw_names(), "derivatives": self._names("derivatives/", derived)}

    def _list_ahead(self, chosen: Iterable[str]) -> None:
        """List the files of all chosen subjects at the same time."""
        homes = {*self._homes(), *(f"sub-{label}/" for label in self.snapshot.listing().subjects)}
        wanted = [f"{top}{subject_id}/" for subject_id in chosen for top in ("", "derivatives/")]
        self.snapshot.files(home for home in wanted if home in homes)

    def download(  # type: ignore[override]  # pyAFQ's has fewer arguments than the class above
        self,
        directory: str,
        include_modality_agnostic: bool | str | Sequence[str] = False,
        include_derivs: Derivs = False,
        overwrite: bool = False,
        pbar: bool = True,
        suffix: str | None = None,
    ) -> None:
        """Download the files of all subjects of the site.

        The destination always has a ``dataset_description.json``. If the site has none, bidsplan
        generates one, which says so and never replaces an existing file.

        Parameters
        ----------
        directory, include_modality_agnostic, include_derivs, overwrite, pbar, suffix
            As in `S3BIDSStudy.download`. Derivatives are written to
            ``derivatives/sub-X/<pipeline>``.

        Raises
        ------
        ArgumentTypeError, UsageError, BidsplanError
            As in `S3BIDSStudy.download`.
        """
        super().download(
            directory,
            include_modality_agnostic=include_modality_agnostic,
            include_derivs=include_derivs,
            include_derivs_dataset_description=False,
            suffix=suffix,
            overwrite=overwrite,
            pbar=pbar,
        )
