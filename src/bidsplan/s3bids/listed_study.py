"""What a study on S3 consists of: read off its bucket once, when it is made."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from bidsplan.bids.dataset_files import report_subject
from bidsplan.bids.names import bare_label, subject_label
from bidsplan.compile.companions import read_small
from bidsplan.compile.select.sampling import shuffle_order
from bidsplan.compile.survey.participants import LARGEST_TABLE, parse_table
from bidsplan.errors import SelectionError, SourceMissingError, UsageError
from bidsplan.messages import is_quotable_label, suggestion
from bidsplan.s3bids.arguments import check_instance, check_subjects
from bidsplan.s3bids.snapshot import Snapshot
from bidsplan.s3bids.subject import S3BIDSSubject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.compile.survey.datasets import RootListing


_TABLE = "participants.tsv"


class ListedStudy:
    """A study and its subjects; see `S3BIDSStudy`, which can also download them."""

    _site: str | None = None

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
        check_instance("study_id", study_id, str, "a string")
        check_instance("bucket", bucket, str, "a string")
        check_instance("s3_prefix", s3_prefix, str, "a string")
        if s3_prefix == "/":
            raise UsageError("`s3_prefix` must be empty for a study at the top of its bucket")
        wanted = check_subjects(subjects)
        check_instance("anon", anon, bool, "a boolean")
        check_instance("use_participants_tsv", use_participants_tsv, bool, "a boolean")
        check_instance("random_seed", random_seed, int, "an integer", none=True)
        self._study_id, self._bucket, self._s3_prefix = study_id, bucket, s3_prefix
        self._anon, self._use_participants_tsv = anon, use_participants_tsv
        self._random_seed, self._subject_class = random_seed, _subject_class
        self._local_directories: list[str] = []
        self.download_arguments: dict[str, Any] = {}
        self._snapshot = Snapshot(bucket, s3_prefix, anonymous=anon, site=self._site)
        if self._snapshot.survey().empty:
            raise SourceMissingError(f"{self._snapshot.url}: there is nothing here; check its name")
        self._all_subjects = self._list_all_subjects()
        self._derivative_types = self._get_derivative_types()
        self._non_subject_s3_keys = self._get_non_subject_s3_keys()
        # Everybody of a study that goes by its directories is there without being named.
        self._everyone = wanted == "all" and not use_participants_tsv
        chosen = self._chosen(wanted)
        self._look_ahead(chosen)
        self._subjects = [self._get_subject(subject_id) for subject_id in chosen]

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
        """Where in the bucket the study lies."""
        return self._s3_prefix

    @property
    def subjects(self) -> list[Any]:
        """The subjects that were asked for: drawn ones as drawn, all of them sorted."""
        return self._subjects

    @property
    def anon(self) -> bool:
        """Whether requests go unsigned."""
        return self._anon

    @property
    def derivative_types(self) -> list[str]:
        """The derivative pipelines: their directories, with the bucket in front, sorted."""
        return self._derivative_types

    @property
    def non_sub_s3_keys(self) -> dict[str, list[Any]]:
        """What is no subject's, with the bucket in front: ``raw``, and ``derivatives``.

        The latter is a list for each of `derivative_types`. Directories are named like files.
        """
        return self._non_subject_s3_keys

    @property
    def local_directories(self) -> list[str]:
        """Where the study was downloaded to, in that order."""
        return self._local_directories

    @property
    def use_participants_tsv(self) -> bool:
        """Whether the study's subjects are those of its ``participants.tsv``."""
        return self._use_participants_tsv

    @property
    def random_seed(self) -> int | None:
        """The seed of the draw."""
        return self._random_seed

    @property
    def snapshot(self) -> Snapshot:
        """What the study's prefix held when it was looked at."""
        return self._snapshot

    @property
    def agnostic_files(self) -> list[str]:
        """Names of the files at the study's root that are no subject's, sorted."""
        survey = self.snapshot.survey()
        return [name for name in survey.files if not self._is_subjects(name)]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(study_id={self.study_id}, bucket={self.bucket}, "
            f"s3_prefix={self.s3_prefix})"
        )

    def _get_subject(self, subject_id: str) -> Any:
        """Make a subject of its identifier."""
        return self._subject_class(subject_id=subject_id, study=self)

    def _get_derivative_types(self) -> list[str]:
        """List the derivative pipelines.

        Returns
        -------
        list of str
            What `derivative_types` gives from now on.
        """
        if "derivatives" not in self.snapshot.survey().directories:
            return []
        names = self.snapshot.survey("derivatives/").directories
        return [
            self.snapshot.name(f"derivatives/{name}")
            for name in names
            if subject_label(name) is None and not name.startswith(".")
        ]

    def _get_non_subject_s3_keys(self) -> dict[str, list[Any]]:
        """List what is no subject's.

        Returns
        -------
        dict
            What `non_sub_s3_keys` gives from now on.
        """
        places = [f"{self.snapshot.path(kind)}/" for kind in self.derivative_types]
        surveys = self.snapshot.surveys(places)
        return {
            "raw": self._raw_names(),
            "derivatives": [
                self._names(place, survey) for place, survey in zip(places, surveys, strict=True)
            ],
        }

    def _raw_names(self) -> list[str]:
        names = self.agnostic_files + [
            name
            for name in self.snapshot.survey().directories
            if subject_label(name) is None and name != "derivatives"
        ]
        return [self.snapshot.name(name) for name in sorted(names)]

    def _names(self, place: str, survey: RootListing) -> list[str]:
        names = [name for name in survey.files if report_subject(name) is None]
        names += [name for name in survey.directories if subject_label(name) is None]
        return [self.snapshot.name(place + name) for name in sorted(names)]

    def _is_subjects(self, name: str) -> bool:
        """Tell whether a file at the root is a subject's report, as derivatives have them."""
        return report_subject(name) is not None and self.snapshot.is_derivative

    def _list_all_subjects(self) -> list[str]:
        """List all subjects of the study.

        Returns
        -------
        list of str
            Their identifiers, sorted.
        """
        survey = self.snapshot.survey()
        if not self.use_participants_tsv:
            return [f"sub-{label}" for label in survey.subjects]
        if _TABLE not in survey.files:
            raise SourceMissingError(f"{self.snapshot.url}: there is no {_TABLE} here")
        data = read_small(self.snapshot.store, survey.files[_TABLE], LARGEST_TABLE)
        table, problems = parse_table(data, _TABLE, columns=())
        if table is None:
            raise SelectionError(problems=problems)
        return sorted(f"sub-{label}" for label in table.rows)

    def _chosen(self, subjects: Any) -> list[str]:
        """Choose subjects of all there are."""
        if subjects == "all":
            return sorted(self._all_subjects)
        if isinstance(subjects, str):
            subjects = (subjects,)
        if subjects is None or isinstance(subjects, int) or isinstance(subjects[0], int):
            return self._drawn(subjects)
        absent = sorted(set(subjects).difference(self._all_subjects))
        if absent:
            shown = [name for name in self._all_subjects if is_quotable_label(bare_label(name))]
            hint = suggestion(f"sub-{bare_label(absent[0])}", shown)
            raise UsageError(
                f"these subjects are not in the study: {', '.join(absent)}"
                + (f"; {hint}" if hint else "")
            )
        return list(dict.fromkeys(subjects))

    def _drawn(self, subjects: int | Sequence[int] | None) -> list[str]:
        """Draw subjects as pyAFQ does."""
        seed = self.random_seed
        if seed is None:
            seed = secrets.randbelow(1 << 32)
        if not 0 <= seed < 1 << 32:
            raise UsageError(f"`random_seed` must be from 0 to 2**32 - 1; got {seed}")
        labels = shuffle_order(map(bare_label, self._all_subjects), seed)
        order = [f"sub-{label}" for label in labels]
        if subjects is None or isinstance(subjects, int):
            return order[: subjects or 1]
        try:
            return list(dict.fromkeys(order[place] for place in subjects))
        except IndexError:
            raise UsageError(
                f"`subjects` must be places below {len(order)}, which the study has; "
                f"got {max(subjects, key=abs)}"
            ) from None

    def _look_ahead(self, chosen: Iterable[str]) -> None:
        """List what subjects have all at once, before each is asked for its own."""
        homes = ["", *(f"{self.snapshot.path(kind)}/" for kind in self.derivative_types)]
        surveys = self.snapshot.surveys(homes)
        self.snapshot.below(
            f"{home}{subject_id}/"
            for subject_id in chosen
            for home, survey in zip(homes, surveys, strict=True)
            if bare_label(subject_id) in survey.subjects
        )
