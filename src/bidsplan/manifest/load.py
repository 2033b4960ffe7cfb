"""Manifests on disk: read, validated, and every problem told with its line."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bidsplan.errors import ManifestError, Place, Problem
from bidsplan.manifest import Derivative, Filter, Manifest
from bidsplan.manifest.fields import ALLOWED
from bidsplan.manifest.vocabulary import vocabulary_warnings
from bidsplan.manifest.yaml_reader import Document, read_yaml
from bidsplan.messages import is_secret, nearest
from bidsplan.paths import open_regular, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from os import PathLike

    from pydantic import BaseModel


_SECRET_NAME = re.compile(
    r"key|secret|token|passw|credential|endpoint|client_kwargs|config_kwargs|storage_options|"
    r"session_token|proxies",
    re.IGNORECASE,
)
_LONGEST_SHOWN = 60
_MOST_TOLD = 100
"""Problems of one manifest that are told; who has more has another kind of problem."""

_ALTERNATIVE = re.compile(r"^(literal|tuple|dict|function-[a-z]+)\[.*\]$|^CohortTable$")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestFile:
    """A manifest, and the file that it was read from.

    Parameters
    ----------
    warnings : tuple of Problem
        Words of its filters that BIDS does not know.
    document : Document
        What the file says, with its lines.
    """

    manifest: Manifest
    path: Path
    warnings: tuple[Problem, ...]
    document: Document

    def locate(self, problem: Problem) -> Problem:
        """Give a problem the file and line that its place stands at.

        Parameters
        ----------
        problem : Problem
            Placed by the manifest's models, which know nothing of files.

        Returns
        -------
        Problem
            Placed as the document is written. One that has no place stays as it is.
        """
        if not problem.at:
            return problem
        located = _located(problem, self.document, self.path)
        return replace(located, at=_shown(located.at))


def load_manifest(
    path: str | PathLike[str], *, allow_protocols: Iterable[str] = (), untrusted: bool = False
) -> ManifestFile:
    """Read and validate a manifest.

    Parameters
    ----------
    path : path
    allow_protocols : iterable of str
        Protocols of URLs to allow beyond the usual ones.
    untrusted : bool
        Refuse a manifest that is a link.

    Returns
    -------
    ManifestFile

    Raises
    ------
    ManifestError
        Listing everything that is wrong with it.
    """
    path = Path(path)
    if ".jsonl" in path.suffixes:
        problem = Problem(
            message="this is a plan, by its name; expected a manifest", file=str(path)
        )
        raise ManifestError(problems=[problem])
    try:
        with open_regular(path, follow=not untrusted) as file:
            # A byte more than is allowed tells that there is more.
            data = file.read((1 << 20) + 1)
    except OSError as error:
        problem = Problem(message=f"can't be read: {error.strerror}", file=str(path))
        raise ManifestError(problems=[problem]) from error
    document = read_yaml(data)
    problems = [replace(problem, file=str(path)) for problem in document.problems]
    manifest, invalid = _validate(document, frozenset(allow_protocols))
    problems += [_located(problem, document, path) for problem in invalid]
    if problems or manifest is None:
        raise ManifestError(problems=_told(_first_of_each_place(problems), path))
    strange = list(islice(vocabulary_warnings(manifest), _MOST_TOLD + 1))
    warnings = _told([_located(problem, document, path) for problem in strange], path)
    return ManifestFile(manifest=manifest, path=path, warnings=tuple(warnings), document=document)


def _told(problems: list[Problem], path: Path) -> list[Problem]:
    """Keep as many as people read, their places free of what a stranger may have put there."""
    told = [replace(problem, at=_shown(problem.at)) for problem in problems[:_MOST_TOLD]]
    if len(problems) > _MOST_TOLD:
        told.append(Problem(message=f"there are more than {_MOST_TOLD} problems", file=str(path)))
    return told


def _shown(place: Place) -> Place:
    """Escape, shorten and redact the names in a place: they are the document's own keys."""
    return tuple(part if isinstance(part, int) else _shown_name(part) for part in place)


def _shown_name(name: str) -> str:
    return "(a credential)" if is_secret(name) else printable(name[:_LONGEST_SHOWN])


def _first_of_each_place(problems: Iterable[Problem]) -> list[Problem]:
    """Keep one problem a place, the first that was found, and sort them by line."""
    first: dict[object, Problem] = {}
    for problem in problems:
        first.setdefault((problem.line, problem.at) if problem.at else problem, problem)
    return sorted(first.values(), key=lambda problem: problem.line or 0)


def _validate(
    document: Document, protocols: frozenset[str]
) -> tuple[Manifest | None, list[Problem]]:
    """Make the model, or say why there is none; what can be read of a broken document counts."""
    if not document.whole:
        return None, []
    if not isinstance(document.data, dict):
        return None, [
            Problem(message="expected a mapping; see docs/user/manifest.md for an example")
        ]
    others = [*_secrets(document.data), *_spellings(document.lines)]
    try:
        manifest = Manifest.model_validate(document.data, context={ALLOWED: protocols})
    except ValidationError as error:
        return None, [*_problems(error), *others]
    return manifest, others


def _spellings(places: Iterable[Place]) -> Iterator[Problem]:
    """Look for names that only the models have; a document says the same in one way."""
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


def _secrets(data: object, place: Place = ()) -> Iterator[Problem]:
    """Look for values that look like credentials, wherever they stand."""
    waiting: list[tuple[object, Place]] = [(data, place)]
    while waiting:
        value, at = waiting.pop()
        if isinstance(value, dict):
            waiting += [(item, (*at, key)) for key, item in value.items()]
            waiting += [(key, (*at, key)) for key in value]
        elif isinstance(value, list):
            waiting += [(item, (*at, number)) for number, item in enumerate(value)]
        elif isinstance(value, str) and is_secret(value):
            yield Problem(message="this looks like a credential", at=at, hint=_ENVIRONMENT)


_ENVIRONMENT = (
    "credentials and endpoints come from the environment or from flags, never from a manifest"
)


def _problems(error: ValidationError) -> Iterator[Problem]:
    found = [
        (tuple(item["loc"]), item) for item in error.errors(include_url=False, include_input=False)
    ]
    # How many problems stand at or below each place.
    below = Counter(loc[:length] for loc, _ in found for length in range(len(loc) + 1))
    for loc, item in found:
        # Of alternatives that all failed, the one that got furthest says what is wrong.
        if loc and _is_alternative(loc[-1]) and below[loc[:-1]] > below[loc]:
            continue
        context = item.get("ctx", {})
        at = context.get("at", tuple(part for part in loc if not _is_alternative(part)))
        yield _problem(item["type"], item["msg"], context, at)


def _is_alternative(part: str | int) -> bool:
    """Tell pydantic's names of a union's members from names in the document."""
    return isinstance(part, str) and bool(_ALTERNATIVE.search(part))


def _problem(kind: str, message: str, context: Mapping[str, Any], at: Place) -> Problem:
    if kind == "extra_forbidden":
        return _unknown_field(at)
    if kind == "missing":
        return Problem(message="is required", at=at)
    if kind == "literal_error":
        return Problem(
            message="not one of the words it may be", at=at, expected=context["expected"]
        )
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return Problem(message="expected a mapping", at=at)
    return Problem(message=message.removeprefix("Value error, "), at=at)


def _unknown_field(at: Place) -> Problem:
    *place, name = at
    word = _shown_name(str(name))
    if _SECRET_NAME.search(str(name)):
        return Problem(message=f"{word!r} is not allowed", at=at, hint=_ENVIRONMENT)
    known = _known_fields(tuple(place))
    near = nearest(word, known)
    message = f"unknown field {word!r}"
    if near:
        return Problem(message=message, at=at, hint=f"did you mean {near!r}?")
    return Problem(message=message, at=at, expected=f"one of {', '.join(sorted(known))}")


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
    names = [field.alias or name for name, field in model.model_fields.items()]
    if model is Derivative:
        names = [*Filter.model_fields, *(name for name in names if name != "filters")]
    return names


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model that an annotation is made of."""
    from pydantic import BaseModel  # only for messages

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    parts = getattr(annotation, "__args__", ())
    return next((found for part in parts if (found := _model_in(part))), None)


def _located(problem: Problem, document: Document, path: Path) -> Problem:
    """Walk the document along a place, passing over what only the models have."""
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
    required = problem.message == "is required"
    line = document.lines.get(tuple(walked)) if walked or required else None
    # A place of which the document has nothing was said elsewhere, as by a flag.
    at = tuple(walked) if walked and not required else (*walked, *missed)
    return replace(problem, file=str(path), line=line, at=at)
