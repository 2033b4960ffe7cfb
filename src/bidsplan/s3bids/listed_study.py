"""The base class of a study on S3, which is listed once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from bidsplan.bids.dataset_files import report_subject
from bidsplan.bids.names import bare_label, owner_label, subject_label
from bidsplan.compile.select.sampling import shuffle_order
from bidsplan.compile.survey.participants import LARGEST_TABLE, parse_table
from bidsplan.compile.survey.small_files import read_small
from bidsplan.errors import SelectionError, SourceMissingError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import is_quotable_label, suggestion
from bidsplan.s3bids.arguments import check_instance
from bidsplan.s3bids.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.compile.survey.datasets import RootListing


_TABLE = "participants.tsv"


class ListedStudy:
    """A listed study, to which `S3BIDSStudy` adds subjects and downloads."""

    _site: str | None = None

    def __init__(
        self,
        study_id: str,
        bucket: str,
        s3_prefix: str,
        *,
        anon: bool,
        use_participants_tsv: bool,
        random_seed: int | None,
    ) -> None:
        check_instance("study_id", study_id, str, "a string")
        check_instance("bucket", bucket, str, "a string")
        check_instance("s3_prefix", s3_prefix, str, "a string")
        if s3_prefix == "/":
            raise UsageError("`s3_prefix` must be empty for a study at the top of its bucket")
        check_instance("anon", anon, bool, "a boolean")
        check_instance("use_participants_tsv", use_participants_tsv, bool, "a boolean")
        check_instance("random_seed", random_seed, int, "an integer", none=True)
        self._study_id, self._bucket, self._s3_prefix = study_id, bucket, s3_prefix
        self._anon, self._use_participants_tsv = anon, use_participants_tsv
        self._random_seed = random_seed
        self._snapshot = Snapshot(bucket, s3_prefix, anonymous=anon, site=self._site)
        if self._snapshot.listing().empty:
            raise SourceMissingError(
                f"{self._snapshot.url}: there is nothing here; check its name",
                help_code=HelpCode.STUDY_MISSING,
            )
        self._all_subjects = self._list_all_subjects()
        self._derivative_types = self._get_derivative_types()
        self._non_subject_s3_keys = self._get_non_subject_s3_keys()

    @property
    def study_id(self) -> str:
        """The study's name."""
        return self._study_id

    @property
    def bucket(self) -> str:
        """The bucket that the study is in."""
        return self._bucket

    @property
    def s3_prefix(self) -> str:
        """The prefix of the study's keys."""
        return self._s3_prefix

    @property
    def anon(self) -> bool:
        """Whether requests are unsigned."""
        return self._anon

    @property
    def derivative_types(self) -> list[str]:
        """The sorted directories of derivative pipelines, starting with the bucket's name."""
        return self._derivative_types

    @property
    def non_sub_s3_keys(self) -> dict[str, list[Any]]:
        """The files and directories that belong to no subject.

        ``raw`` is a list of names, and ``derivatives`` has such a list for each of
        `derivative_types`. Each name starts with the bucket's name.
        """
        return self._non_subject_s3_keys

    @property
    def use_participants_tsv(self) -> bool:
        """Whether the subjects are read from ``participants.tsv``."""
        return self._use_participants_tsv

    @property
    def random_seed(self) -> int | None:
        """The seed of the random order of subjects."""
        return self._random_seed

    @property
    def snapshot(self) -> Snapshot:
        """The listing of the study's prefix."""
        return self._snapshot

    @property
    def agnostic_files(self) -> list[str]:
        """The files at the study's root that belong to no subject, sorted by name."""
        files = self.snapshot.listing().files
        # The root of a derivative also has the subjects' reports.
        reports = filter(report_subject, files) if self.snapshot.is_derivative else ()
        return sorted(files.keys() - set(reports))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(study_id={self.study_id}, bucket={self.bucket}, "
            f"s3_prefix={self.s3_prefix})"
        )

    def _get_derivative_types(self) -> list[str]:
        """List the values of `derivative_types`."""
        if "derivatives" not in self.snapshot.listing().directories:
            return []
        return [
            self.snapshot.name(f"derivatives/{name}")
            for name in self.snapshot.listing("derivatives/").directories
            if subject_label(name) is None and not name.startswith(".")
        ]

    def _get_non_subject_s3_keys(self) -> dict[str, list[Any]]:
        """List the values of `non_sub_s3_keys`."""
        directories = [f"{self.snapshot.path(kind)}/" for kind in self.derivative_types]
        listings = self.snapshot.listings(directories)
        return {
            "raw": self._raw_names(),
            "derivatives": list(map(self._names, directories, listings)),
        }

    def _raw_names(self) -> list[str]:
        names = self.agnostic_files + [
            name
            for name in self.snapshot.listing().directories
            if subject_label(name) is None and name != "derivatives"
        ]
        return [self.snapshot.name(name) for name in sorted(names)]

    def _names(self, directory: str, listing: RootListing) -> list[str]:
        names = [name for name in listing.files if report_subject(name) is None]
        names += [name for name in listing.directories if owner_label(name) is None]
        return [self.snapshot.name(directory + name) for name in sorted(names)]

    def _list_all_subjects(self) -> list[str]:
        """List the identifiers of all subjects, sorted."""
        listing = self.snapshot.listing()
        if not self.use_participants_tsv:
            return [f"sub-{label}" for label in listing.subjects]
        if _TABLE not in listing.files:
            raise SourceMissingError(f"{self.snapshot.url}: there is no {_TABLE} here")
        data = read_small(self.snapshot.store, listing.files[_TABLE], LARGEST_TABLE)
        table, problems = parse_table(data, _TABLE, columns=())
        if table is None:
            raise SelectionError(problems=problems)
        return sorted(f"sub-{label}" for label in table.rows)

    def _choose(self, subjects: Any) -> list[str]:
        """Return the identifiers of the selected subjects."""
        if subjects == "all":
            return sorted(self._all_subjects)
        if isinstance(subjects, str):
            subjects = (subjects,)
        if subjects is None or isinstance(subjects, int) or isinstance(subjects[0], int):
            return self._draw(subjects)
        absent = sorted(set(subjects).difference(self._all_subjects))
        if absent:
            known = [name for name in self._all_subjects if is_quotable_label(bare_label(name))]
            hint = suggestion(f"sub-{bare_label(absent[0])}", known)
            raise UsageError(
                f"these subjects are not in the study: {', '.join(absent)}"
                + (f"; {hint}" if hint else "")
            )
        return list(dict.fromkeys(subjects))

    def _draw(self, subjects: int | Sequence[int] | None) -> list[str]:
        """Select random subjects in the same way as pyAFQ."""
        seed = secrets.randbelow(1 << 32) if self.random_seed is None else self.random_seed
        if not 0 <= seed < 1 << 32:
            raise UsageError(f"`random_seed` must be from 0 to 2**32 - 1; got {seed}")
        labels = shuffle_order(map(bare_label, self._all_subjects), seed)
        order = [f"sub-{label}" for label in labels]
        if subjects is None or isinstance(subjects, int):
            return order[: subjects or 1]
        try:
            return list(dict.fromkeys(order[index] for index in subjects))
        except IndexError:
            raise UsageError(
                f"`subjects` must be places below {len(order)}, which the study has; "
                f"got {max(subjects, key=abs)}"
            ) from None

    def _list_ahead(self, chosen: Iterable[str]) -> None:
        """List the files of all chosen subjects at the same time."""
        homes = ["", *(f"{self.snapshot.path(kind)}/" for kind in self.derivative_types)]
        listings = self.snapshot.listings(homes)
        self.snapshot.files(
            f"{home}{subject_id}/"
            for subject_id in chosen
            for home, listing in zip(homes, listings, strict=True)
            if bare_label(subject_id) in listing.subjects
        )
