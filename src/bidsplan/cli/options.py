"""The options that several commands share, and the settings made from them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bidsplan.cli.configuration import cache_options, size_of
from bidsplan.cli.console import Console
from bidsplan.cli.documents import DOCUMENTS, check_document
from bidsplan.cli.usage_hints import repeated
from bidsplan.command_lines import operands
from bidsplan.destination import refuse_mistyped_url
from bidsplan.destination.cache_options import CacheLink, CacheOptions
from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import Redactor
from bidsplan.paths import printable
from bidsplan.redaction import find_redactor
from bidsplan.storage.access import AUTO_JOBS, Access, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from bidsplan.plan import Planned


class Part(NamedTuple):
    """The part of a plan that a command uses; by default the whole plan."""

    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None

    def of(self, plan: Planned) -> Planned:
        """Return the part of a plan; raises UsageError if there is no such part."""
        if not any(self):
            return plan
        from bidsplan.plan.parts import select_part  # on demand

        return select_part(plan, *self)

    def arguments(self) -> list[str]:
        """Return the options that choose this part."""
        chosen = [("--subject", label) for label in self.subjects]
        chosen += [("--session", label) for label in self.sessions]
        if self.shard:
            chosen.append(("--shard", "{}/{}".format(*self.shard)))
        return [word for option in chosen for word in option]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a command writes, reaches storage, and treats warnings."""

    console: Console
    access: Access = field(default_factory=Access)
    strict: bool = False
    part: Part = field(default_factory=Part)
    cache: CacheOptions | None = None


class _Connections(click.IntRange):
    """A number of connections, or `auto`."""

    name = "number or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return AUTO_JOBS if value == "auto" else super().convert(value, param, ctx)


def _jobs_option(
    name: str, default: str | int, number: click.IntRange, text: str
) -> Callable[..., Any]:
    return click.option(
        "-j", "--jobs", name, type=number, default=default, show_default=True, help=text
    )


def parse_bytes(value: str) -> int:
    """Parse a size such as 500GB or 1.5TiB."""
    number = size_of(value)
    if number is None:
        message = f"{value!r} is not a size; write it as 500GB or 1.5TiB"
        raise click.BadParameter(message)
    if number <= 0:
        raise click.BadParameter(f"{value!r} is not a size above 0")
    return number


def output_option(text: str) -> Callable[..., Any]:
    """Make the option ``--output`` with a help text."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), help=text)


def examples(*lines: str) -> str:
    """Make the examples at the end of a command's help."""
    # The first character tells click not to wrap these lines.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


STRICT = (click.option("--strict", is_flag=True, help="Treat warnings as errors."),)

ALLOWED = (
    click.option(
        "--allow-protocol",
        "allow_protocols",
        multiple=True,
        callback=lambda _ctx, _param, value: frozenset(value),
        metavar="NAME",
        help="Also allow URLs with this fsspec protocol. May be repeated.",
    ),
    click.option(
        "--untrusted",
        is_flag=True,
        envvar="BIDSPLAN_UNTRUSTED",
        help="Refuse local files, private hosts and signed requests. Use this for untrusted "
        "manifests and plans, as in pull requests. The environment variable BIDSPLAN_UNTRUSTED=1 "
        "does the same.",
    ),
)
"""Options for the URLs that a manifest or a plan may name."""

PLACES = (
    click.option(
        "--endpoint-url", metavar="URL", help="S3 endpoint. [default: as for the AWS tools]"
    ),
    click.option("--region", metavar="NAME", help="AWS region. [default: as for the AWS tools]"),
    click.option("--profile", metavar="NAME", help="AWS profile. [default: as for the AWS tools]"),
    click.option(
        "--anonymous/--signed",
        "anonymous",
        default=None,
        help="Do not sign requests to the sources, or sign them. Overrides the manifest or plan. "
        "Requests to a destination are always signed.",
    ),
    click.option(
        "--requester-pays",
        is_flag=True,
        help="Agree to pay for requests to requester-pays buckets.",
    ),
    *ALLOWED,
)
"""Options for the endpoint and the credentials of storage."""

STORAGE = (
    *PLACES,
    click.option(
        "--timeout",
        type=click.FloatRange(0.1, 3600),
        default=60,
        show_default=True,
        metavar="SECONDS",
        help="Close a connection that sends nothing for this time.",
    ),
)
"""Options for reaching storage."""

SOURCES = (
    click.option(
        "--transport",
        type=click.Choice([transport.value for transport in Transport]),
        default=Transport.AUTO.value,
        callback=lambda _ctx, _param, value: Transport(value),
        show_default=True,
        help="Library to list and read storage with.",
    ),
    _jobs_option(
        "jobs",
        "auto",
        _Connections(1, 1024),
        "Maximum number of connections. With auto, bidsplan adapts this number to the storage, up "
        f"to {AUTO_JOBS}.",
    ),
    *STORAGE,
)
"""Options for reaching the storage of a study, with a transport and connections."""

DESTINATION = (
    click.option(
        "--dest-endpoint-url",
        metavar="URL",
        help="S3 endpoint of DEST. [default: as for the sources]",
    ),
    click.option(
        "--dest-profile", metavar="NAME", help="AWS profile for DEST. [default: as for the sources]"
    ),
)
"""Options for a destination in storage."""

RATE = (
    click.option(
        "--limit-rate",
        type=parse_bytes,
        metavar="RATE",
        help="Limit all connections together to this number of bytes a second, e.g. 50M.",
    ),
)
"""The option that limits the transfer rate."""


CACHE = (
    click.option(
        "--cache",
        "cache_directory",
        metavar="DIR",
        help="Content cache: a directory that keeps file contents by digest, so that other "
        "destinations need not fetch them. [default: from BIDSPLAN_CACHE or the configuration]",
    ),
    click.option(
        "--cache-size",
        type=parse_bytes,
        metavar="SIZE",
        help="If the cache is larger than this, e.g. 500GB, remove the contents that were used "
        "least recently.",
    ),
    click.option(
        "--cache-link",
        type=click.Choice([link.value for link in CacheLink]),
        help="Copy files from the cache, or make hard links to them. Never write to such a link. "
        "[default: copy]",
    ),
    click.option("--no-cache", is_flag=True, help="Use no cache, even if one is configured."),
)
"""Options for the content cache."""

_CACHING = {"cache_directory", "cache_size", "cache_link", "no_cache"}
_ACCESS = {field.name for field in fields(Access)}


def _parse_shard(_context: object, _parameter: object, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    number, _, of = value.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise click.BadParameter(f"{value!r} is not a part; write the first of eight as 1/8")
    return int(number), int(of)


PART = (
    click.option(
        "--subject",
        "subjects",
        multiple=True,
        metavar="LABEL",
        help="Use only the files that this subject needs, including files that belong to no "
        "subject. May be repeated.",
    ),
    click.option(
        "--session",
        "sessions",
        multiple=True,
        metavar="LABEL",
        help="With --subject, leave out the subject's files of other sessions. May be repeated.",
    ),
    click.option(
        "--shard",
        metavar="K/N",
        callback=_parse_shard,
        help="Use only part K of N parts, which have about the same number of bytes and files.",
    ),
)
"""Options for a part of a plan. Several runs may fetch parts to one DEST at the same time."""


def _take_access(values: dict[str, Any]) -> Access:
    """Make the access that options ask for, and take them out."""
    return Access(**{name: values.pop(name) for name in _ACCESS & values.keys()})


def _check_document(context: click.Context, document: Path) -> Path:
    return check_document(document, lambda: _take_access({**context.params}))


def _check_order(context: click.Context, _: click.Parameter, destination: str) -> str:
    """Refuse a manifest or plan that is given as the destination."""
    source = context.params["source"]
    if destination.endswith(DOCUMENTS) and not str(source).endswith(DOCUMENTS):
        written = repeated(context, [str(source)])
        several = f", or for several values '{printable(written)}'" if written else ""
        raise UsageError(
            "DEST comes last, behind the manifest or plan; write "
            f"'{operands(destination, source)}'{several}",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
    _check_document(context, source)
    refuse_mistyped_url(destination)
    return destination


def _complete_directory(
    _context: object, _parameter: object, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete the name of a directory."""
    from click.shell_completion import CompletionItem  # only for shells

    return [CompletionItem(incomplete, type="dir")]


def manifest_argument(name: str, *, several: bool = False) -> Callable[..., Any]:
    """Make the argument for one manifest or several."""

    def check(context: click.Context, _parameter: object, value: Any) -> Any:
        found = tuple(_check_document(context, each) for each in (value if several else [value]))
        return found if several else found[0]

    many = -1 if several else 1
    path = click.Path(path_type=Path)
    return click.argument(name, type=path, nargs=many, required=True, callback=check)


def document_argument(name: str, metavar: str, *, required: bool = True) -> Callable[..., Any]:
    """Make the argument for a manifest or plan, in commands without destination."""

    def check(context: click.Context, _parameter: object, value: Path | None) -> Path | None:
        return None if value is None else _check_document(context, value)

    path = click.Path(path_type=Path)
    return click.argument(name, metavar=metavar, type=path, required=required, callback=check)


plan_argument = click.argument("source", metavar="PLAN|MANIFEST", type=click.Path(path_type=Path))
destination_argument = click.argument(
    "destination", metavar="DEST", callback=_check_order, shell_complete=_complete_directory
)
readers_option = _jobs_option(
    "readers", 4, click.IntRange(1, 256), "Maximum number of files to read at a time."
)
wait_option = click.option(
    "--wait", is_flag=True, help="If another run is using DEST, wait until it ends."
)


def settings_of(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add options to a command, which gets their values as `Settings`."""
    console = (
        click.option("--json", is_flag=True, help="Write results as JSON Lines."),
        click.option("--debug", is_flag=True, help="Show the log, and the tracebacks of errors."),
        click.option("-q", "--quiet", is_flag=True, help="Do not show progress."),
    )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*, strict: bool = False, **kwargs: Any) -> Any:
            redact = click.get_current_context().find_object(Redactor) or find_redactor()
            access = _take_access(kwargs)
            chosen = {name: kwargs.pop(name) for name in set(Part._fields) & kwargs.keys()}
            shown = {name: kwargs.pop(name) for name in ("json", "debug", "quiet")}
            console = Console(**shown, redact=redact)
            caching = {name: kwargs.pop(name) for name in _CACHING & kwargs.keys()}
            kwargs["settings"] = Settings(
                console=console,
                access=access,
                strict=strict,
                part=Part(**chosen),
                cache=cache_options(**caching, untrusted=access.untrusted, warn=console.warn)
                if caching
                else None,
            )
            return function(**kwargs)

        for option in reversed((*options, *console)):
            wrapper = option(wrapper)
        return wrapper

    return decorate
