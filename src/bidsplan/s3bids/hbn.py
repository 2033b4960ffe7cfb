"""The Healthy Brain Network, whose derivatives stand by subject."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bidsplan.errors import UsageError
from bidsplan.s3bids.arguments import check_instance
from bidsplan.s3bids.study import S3BIDSStudy
from bidsplan.s3bids.subject import Keys, S3BIDSSubject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.s3bids.arguments import Derivs, DownloadOptions


SITES = ("Site-SI", "Site-RU", "Site-CBIC", "Site-CUNY")
"""The sites of the study."""


class HBNSubject(S3BIDSSubject):
    """A single subject of the Healthy Brain Network.

    Parameters
    ----------
    subject_id : str
        With its ``sub-``.
    study : S3BIDSStudy
    site : str, optional
        Where the subject was scanned.

    Raises
    ------
    ArgumentTypeError
        Where one has another type.
    StorageError
        Where the subject's files can't be listed.
    """

    def __init__(self, subject_id: str, study: S3BIDSStudy, site: str | None = None) -> None:
        check_instance("site", site, str, "a string", none=True)
        self._site = site
        super().__init__(subject_id=subject_id, study=study)

    @property
    def site(self) -> str | None:
        """Where the subject was scanned."""
        return self._site

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(subject_id={self.subject_id}, "
            f"study_id={self.study.study_id}, site={self.site})"
        )

    def _get_s3_keys(self) -> Keys:
        """Look for the subject's keys; those of derivatives in ``derivatives/sub-X/<pipeline>``.

        Returns
        -------
        dict
            What `s3_keys` gives from now on.
        """
        snapshot = self.study.snapshot
        homes = [f"derivatives/{self.subject_id}/{kind}/" for kind in self.study.derivative_types]
        derived = snapshot.below(homes)
        self._s3_keys = {
            "raw": [snapshot.key(path) for path in snapshot.subject("", self.subject_id)],
            "derivatives": {
                kind: [snapshot.key(path) for path in paths]
                for kind, paths in zip(self.study.derivative_types, derived, strict=True)
            },
        }
        return self._s3_keys


class HBNSite(S3BIDSStudy):
    """A site of the Healthy Brain Network, as its bucket was when this was made.

    Parameters
    ----------
    site : str
        ``Site-SI``, ``Site-RU``, ``Site-CBIC`` or ``Site-CUNY``.
    study_id : str
        A name for people.
    bucket, s3_prefix : str
        Where the sites lie.
    subjects, use_participants_tsv, random_seed
        As in `S3BIDSStudy`.

    Raises
    ------
    ArgumentTypeError
        Where an argument has another type.
    UsageError
        Where there is no such site, or `subjects` are not in it.
    StorageError, UrlError
        Where it can't be listed.
    """

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
        if site not in SITES:
            raise UsageError(f"`site` must be one of {', '.join(SITES)}; got {site!r}")
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
        """Which site it is."""
        return self._site

    def _get_subject(self, subject_id: str) -> Any:
        """Make a subject of its identifier."""
        return self._subject_class(subject_id=subject_id, study=self, site=self.site)

    def _get_derivative_types(self) -> list[str]:
        """List the pipelines that any subject has in ``derivatives/sub-X/``.

        Returns
        -------
        list of str
            What `derivative_types` gives from now on: names, sorted.
        """
        names: set[str] = set()
        for survey in self.snapshot.surveys(self._homes()):
            names.update(name for name in survey.directories if not name.startswith("."))
        return sorted(names)

    def _homes(self) -> list[str]:
        """List the subjects' directories among the derivatives."""
        if "derivatives" not in self.snapshot.survey().directories:
            return []
        labels = self.snapshot.survey("derivatives/").subjects
        return [f"derivatives/sub-{label}/" for label in labels]

    def _get_non_subject_s3_keys(self) -> dict[str, list[Any]]:
        """List what is no subject's.

        Returns
        -------
        dict
            What `non_sub_s3_keys` gives from now on: ``raw``, and ``derivatives``, of which HBN
            has no directory each.
        """
        derived = self.snapshot.survey("derivatives/")
        return {"raw": self._raw_names(), "derivatives": self._names("derivatives/", derived)}

    def _look_ahead(self, chosen: Iterable[str]) -> None:
        """List what subjects have all at once, before each is asked for its own."""
        homes = {*self._homes(), *(f"sub-{label}/" for label in self.snapshot.survey().subjects)}
        wanted = [
            f"{place}{subject_id}/" for subject_id in chosen for place in ("", "derivatives/")
        ]
        self.snapshot.below(home for home in wanted if home in homes)

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

        The site gets a ``dataset_description.json``: its own, or where it has none a generated
        one, which says so and replaces no other.

        Parameters
        ----------
        directory, include_modality_agnostic, include_derivs, overwrite, pbar, suffix
            As in `S3BIDSStudy.download`. Derivatives land in ``derivatives/sub-X/<pipeline>``.

        Raises
        ------
        ArgumentTypeError, UsageError, BidsplanError
            As `S3BIDSStudy.download`.
        """
        options = self._wish(
            include_modality_agnostic=include_modality_agnostic,
            include_derivs=include_derivs,
            overwrite=overwrite,
            pbar=pbar,
            suffix=suffix,
        )
        self._bring(options, directory, overwrite=overwrite, pbar=pbar)

    def _wish(self, **arguments: Any) -> DownloadOptions:
        return replace(super()._wish(**arguments), described=True)
