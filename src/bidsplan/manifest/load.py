"""Reads and validates manifest files, and reports each problem's line."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from bidsplan.bids.schema import entities
from bidsplan.errors import ManifestError, Place, Problem
from bidsplan.help_codes import HelpCode
from bidsplan.manifest import Derivative, Filter, Manifest, Requirement, Sample, Subjects
from bidsplan.manifest.fields import ALLOWED
from bidsplan.manifest.model import Limits, Study
from bidsplan.manifest.ranges import range_warnings
from bidsplan.manifest.vocabulary import vocabulary_warnings
from bidsplan.manifest.yaml_reader import LARGEST, Document, read_yaml
from bidsplan.messages import is_secret, names_a_secret, near_document, nearest
from bidsplan.paths import open_regular, printable
from bidsplan.urls import suggested_bucket, untrusted_by_default

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from os import PathLike


_CONNECTION = re.compile(
    "endpoint|client_kwargs|config_kwargs|storage_options|proxies", re.IGNORECASE
)
_ENVIRONMENT = (
    "credentials and endpoints come from the environment or from flags, never from a manifest"
)
_REQUIRED = "is required"
_EXAMPLES: Mapping[str | int, str] = {
    "manifest_version": "manifest_version: 1",
    "study": "study: {id: ds000114, url: s3://openneuro.org/ds000114}",
    "id": "id: ds000114",
    "url": "url: s3://openneuro.org/ds000114",
    "file": "file: cohort.tsv",
}
"""Examples of the required fields, for messages."""

_SYNONYMS = {
    "seed": "random_seed",
    "version": "manifest_version",
    "participants": "subjects",
    "pipelines": "derivatives",
    "modality": "datatypes",
    "modalities": "datatypes",
    "participant_label": "subjects",
    "name": "id",
    "n": "count",
    "size": "count",
    "number": "count",
    "max_size": "max_bytes",
}
"""Names of fields in other tools, and their names in a manifest."""

_LONGEST_SHOWN = 60
_MOST_REPORTED = 100
"""The most problems of one manifest that are reported."""

_ALTERNATIVE = re.compile(r"^(literal|tuple|dict|function-[a-z]+)\[.*\]$|^(CohortTable|LabelFile)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestFile:
    """A manifest, and the file that it was read from.

    Parameters
    ----------
    manifest : Manifest
    path : Path
    warnings : tuple of Problem
        Warnings about words in the manifest's filters that BIDS does not define, and about texts
        that look like ranges.
    document : Document
        The file's content, with the line of each field.
    """

    manifest: Manifest
    path: Path
    warnings: tuple[Problem, ...]
    document: Document

    def locate(self, problem: Problem) -> Problem:
        """Add the file and line to a problem, and return it.

        A problem without a place in the manifest is returned unchanged.
        """
        if not problem.at:
            return problem
        located = _located(problem, self.document, self.path)
        return replace(located, at=_shown(located.at))


_PLACES: Mapping[str, type[BaseModel] | None] = {
    "{}: …": Manifest,
    "study: {{{}: …}}": Study,
    "subjects: {{{}: …}}": Subjects,
    "subjects: {{sample: {{{}: …}}}}": Sample,
    "files: {{{}: …}}": Filter,
    "limits: {{{}: …}}": Limits,
    "files: {{entities: {{{}: …}}}}": None,
}
"""Where fields belong, as text, and the model that has them (None for entities).

People often write these fields in another place, and the message then shows the right one.
"""


def load_manifest(
    path: str | PathLike[str],
    *,
    allow_protocols: Iterable[str] = (),
    untrusted: bool | None = None,
) -> ManifestFile:
    """Read and validate a manifest.

    Parameters
    ----------
    path : path
    allow_protocols : iterable of str
        URL protocols to allow in addition to the usual ones.
    untrusted : bool, optional
        Whether to refuse a manifest that is a symbolic link. The default is taken from the
        environment variable ``BIDSPLAN_UNTRUSTED``.

    Returns
    -------
    ManifestFile

    Raises
    ------
    ManifestError
        If the manifest is not valid; the error lists all its problems.
    """
    path, untrusted = Path(path), untrusted_by_default() if untrusted is None else untrusted
    if ".jsonl" in path.suffixes:
        problem = Problem(
            message="this is a plan, by its name; expected a manifest, such as study.yaml",
            file=str(path),
            hint="'bidsplan fetch', 'verify', 'pin' and 'prune' also take plans",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
        raise ManifestError(problems=[problem])
    try:
        with open_regular(path, follow=not untrusted) as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        message = f"can't be read: {error.strerror}"
        hint = near_document(path) if isinstance(error, FileNotFoundError) else None
        problem = Problem(message=message, file=str(path), hint=hint)
        raise ManifestError(problems=[problem], help_code=HelpCode.MANIFEST_UNREADABLE) from error
    document = read_yaml(data)
    problems = [replace(problem, file=str(path)) for problem in document.problems]
    manifest, invalid = _validate(document, frozenset(allow_protocols))
    invalid = [*_mistyped_urls(document.data, path.parent), *invalid]
    problems += [_located(problem, document, path) for problem in invalid]
    if problems or manifest is None:
        first: dict[object, Problem] = {}
        for problem in problems:
            first.setdefault((problem.line, problem.at) if problem.at else problem, problem)
        by_line = sorted(first.values(), key=lambda problem: problem.line or 0)
        raise ManifestError(problems=_reported(by_line, path))
    doubts = chain(vocabulary_warnings(manifest), range_warnings(document.data))
    unknown = list(islice(doubts, _MOST_REPORTED + 1))
    warnings = _reported([_located(problem, document, path) for problem in unknown], path)
    return ManifestFile(manifest=manifest, path=path, warnings=tuple(warnings), document=document)


def _reported(problems: list[Problem], path: Path) -> list[Problem]:
    """Keep the first problems, with places that are safe to print."""
    kept = [replace(problem, at=_shown(problem.at)) for problem in problems[:_MOST_REPORTED]]
    if len(problems) > _MOST_REPORTED:
        message = f"there are more than {_MOST_REPORTED} problems"
        kept.append(Problem(message=message, file=str(path)))
    return kept


def _shown(place: Place) -> Place:
    """Escape, shorten and redact the field names in a place."""
    return tuple(part if isinstance(part, int) else _shown_name(part) for part in place)


def _shown_name(name: str) -> str:
    return "(a credential)" if is_secret(name) else printable(name[:_LONGEST_SHOWN])


def _validate(
    document: Document, protocols: frozenset[str]
) -> tuple[Manifest | None, list[Problem]]:
    """Return the manifest, or the problems of the document."""
    if not document.whole:
        return None, []
    if not isinstance(document.data, dict):
        example = _EXAMPLES["study"]
        hint = f"'bidsplan init URL' writes one; the least is 'manifest_version: 1' and '{example}'"
        return None, [Problem(message="expected a mapping of fields", hint=hint)]
    others = [*_secrets(document.data), *_internal_names(document.lines)]
    try:
        manifest = Manifest.model_validate(document.data, context={ALLOWED: protocols})
    except ValidationError as error:
        return None, [*_problems(error), *others]
    return manifest, others


def _mistyped_urls(data: object, base: Path) -> Iterator[Problem]:
    """Find mistyped bucket URLs that would be read as paths."""
    places: list[Place] = [("study", "url")]
    if isinstance(data, dict) and isinstance(data.get("derivatives"), dict):
        places += [("derivatives", name, "url") for name in data["derivatives"]]
    for place in places:
        url: Any = data
        for part in place:
            url = url.get(part) if isinstance(url, dict) else None
        if isinstance(url, str) and (suggested := suggested_bucket(url, base)):
            message = f"{printable(url)} looks like a bucket"
            yield Problem(
                message=message, at=place, hint=f"write {suggested}", help_code=HelpCode.URL
            )


def _internal_names(places: Iterable[Place]) -> Iterator[Problem]:
    """Find fields that only the models have."""
    for at in places:
        match at:
            case (
                ("derivatives", _, "filters")
                | ("subjects", "require", _, "filter")
                | ("subjects", "where", _, "any_of")
                | (*_, "entities", _, "any_of")
            ):
                message = f"unknown field {str(at[-1])!r}"
                hint = "write what it holds in its place"
                yield Problem(message=message, at=at, hint=hint)
            case _:
                pass


def _secrets(data: object) -> Iterator[Problem]:
    """Find keys and values that look like credentials."""
    waiting: list[tuple[object, Place]] = [(data, ())]
    while waiting:
        value, at = waiting.pop()
        if isinstance(value, dict):
            waiting += [(item, (*at, key)) for key, item in value.items()]
            waiting += [(key, (*at, key)) for key in value]
        elif isinstance(value, list):
            waiting += [(item, (*at, number)) for number, item in enumerate(value)]
        elif isinstance(value, str) and is_secret(value):
            yield _secret("this looks like a credential", at)


def _secret(message: str, at: Place) -> Problem:
    return Problem(message=message, at=at, hint=_ENVIRONMENT, help_code=HelpCode.SECRET)


def _problems(error: ValidationError) -> Iterator[Problem]:
    found = [
        (tuple(item["loc"]), item) for item in error.errors(include_url=False, include_input=False)
    ]
    # The number of problems at or below each place.
    below = Counter(loc[:length] for loc, _ in found for length in range(len(loc) + 1))
    for loc, item in found:
        # If all alternatives failed, the one that got furthest explains the problem.
        if loc and _is_alternative(loc[-1]) and below[loc[:-1]] > below[loc]:
            continue
        context = item.get("ctx", {})
        at = context.get("at", tuple(part for part in loc if not _is_alternative(part)))
        yield _problem(item["type"], item["msg"], context, at)


def _is_alternative(part: str | int) -> bool:
    """Report whether a name in a place is pydantic's, for a union."""
    return isinstance(part, str) and bool(_ALTERNATIVE.search(part))


def _problem(kind: str, message: str, context: Mapping[str, Any], at: Place) -> Problem:
    match kind:
        case "extra_forbidden":
            return _unknown_field(at)
        case "missing":
            hint = _EXAMPLES.get(at[-1]) if at else None
            return Problem(message=_REQUIRED, at=at, hint=hint and f"write '{hint}'")
        case "literal_error":
            return Problem(message="not an allowed value", at=at, expected=context["expected"])
        case "url":
            return Problem(message=message, at=at, help_code=HelpCode.URL)
        case _:
            return Problem(message=message.removeprefix("Value error, "), at=at)


def _unknown_field(at: Place) -> Problem:
    *place, name = at
    word = _shown_name(str(name))
    if names_a_secret(str(name)) or _CONNECTION.search(str(name)):
        return _secret(f"{word!r} is not allowed", at)
    known = _known_fields(tuple(place))
    message = f"unknown field {word!r}"
    synonym = _SYNONYMS.get(word)
    near = synonym if synonym in known else None
    hint = None if near else _misplaced(word, known)
    near = near or (None if hint else nearest(word, known))
    if near or hint:
        return Problem(message=message, at=at, hint=hint or f"did you mean {near!r}?")
    return Problem(message=message, at=at, expected=f"one of {', '.join(sorted(known))}")


def _misplaced(word: str, known: Collection[str]) -> str | None:
    """Say where a misplaced field belongs, or that a space is missing."""
    name, colon, _ = word.partition(":")
    if colon and name in known:
        return f"write a space after the colon: '{name}: …'"
    if "entities" in known and word in entities():
        return f"write 'entities: {{{word}: …}}'"
    name = _SYNONYMS.get(word, word)
    for written, model in _PLACES.items():
        if name not in known and name in (_names_of(model) if model else entities()):
            return f"write '{written.format(name)}' at the top level"
    return None


def _known_fields(place: Place) -> list[str]:
    """List the fields that the models have at a place."""
    model: type[BaseModel] = Manifest
    for part in place:
        if model is Derivative and part == "filters":
            model = Filter
            continue
        field = next((f for n, f in model.model_fields.items() if part in {n, f.alias}), None)
        found = _model_in(field.annotation) if field else None
        model = found or model
    return _names_of(model)


def _names_of(model: type[BaseModel]) -> list[str]:
    """List a model's fields as people write them."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    if model in {Derivative, Requirement}:
        names = [*Filter.model_fields, *names]
    return [name for name in names if name not in {"filter", "filters", "any_of"}]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first model that an annotation contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = getattr(annotation, "__args__", ())
    return next((found for part in parts if (found := _model_in(part))), None)


def _located(problem: Problem, document: Document, path: Path) -> Problem:
    """Find the line of a model's problem in the document."""
    node: Any = document.data
    walked: list[str | int] = []
    missed: list[str | int] = []
    for part in problem.at:
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if inside:
            node = node[part]
            walked.append(part)
            missed.clear()
        else:
            missed.append(part)
    required = problem.message == _REQUIRED
    line = document.lines.get(tuple(walked)) if walked or required else None
    # A place that is not in the document comes from elsewhere, such as an option.
    at = tuple(walked) if walked and not required else (*walked, *missed)
    return replace(problem, file=str(path), line=line, at=at)
