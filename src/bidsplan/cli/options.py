"""Options that several commands share."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bidsplan.cli.console import Console
from bidsplan.cli.secrets import find_redactor
from bidsplan.messages import Redactor
from bidsplan.storage.access import Access, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click import Context, Parameter


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--debug``; the command gets a ``console``."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Write results as JSON, an object a line."
    )
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> Any:
        redact = click.get_current_context().find_object(Redactor) or find_redactor()
        console = Console(json=as_json, debug=debug, redact=redact)
        return function(*args, console=console, **kwargs)

    return wrapper


strict_option = click.option("--strict", is_flag=True, help="Take warnings for errors.")

wait_option = click.option(
    "--wait", is_flag=True, help="Wait for another run that is at work in DEST."
)

protocol_option = click.option(
    "--allow-protocol",
    "allow_protocols",
    multiple=True,
    metavar="NAME",
    help="Allow URLs of this fsspec protocol as well. May be repeated.",
)

untrusted_option = click.option(
    "--untrusted",
    is_flag=True,
    envvar="BIDSPLAN_UNTRUSTED",
    help="Refuse what a stranger's manifest could abuse. Also by BIDSPLAN_UNTRUSTED=1.",
)

_REACH = (
    click.option("--endpoint-url", metavar="URL", help="S3 endpoint. [default: as AWS tools do]"),
    click.option("--region", metavar="NAME", help="AWS region. [default: as AWS tools do]"),
    click.option("--profile", metavar="NAME", help="AWS profile. [default: as AWS tools do]"),
    click.option(
        "--anonymous/--signed",
        "anonymous",
        default=None,
        help="Sign requests or not, whatever the manifest says.",
    ),
    click.option("--requester-pays", is_flag=True, help="Agree to pay for requests."),
    protocol_option,
    untrusted_option,
    click.option(
        "--timeout",
        type=click.FloatRange(0.1, 3600),
        default=60,
        show_default=True,
        metavar="SECONDS",
        help="How long a connection may be silent.",
    ),
)

_MOVE = (
    click.option(
        "--transport",
        type=click.Choice([transport.value for transport in Transport]),
        default=Transport.AUTO.value,
        show_default=True,
        help="What moves the bytes.",
    ),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 1024),
        default=256,
        show_default=True,
        help="The most connections at a time.",
    ),
)


def reach_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how storage is reached; the command gets an ``access``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        access = Access(
            endpoint_url=kwargs.pop("endpoint_url"),
            region=kwargs.pop("region"),
            profile=kwargs.pop("profile"),
            anonymous=kwargs.pop("anonymous"),
            requester_pays=kwargs.pop("requester_pays"),
            allow_protocols=frozenset(kwargs.pop("allow_protocols")),
            untrusted=kwargs.pop("untrusted"),
            timeout=kwargs.pop("timeout"),
        )
        return function(*args, access=access, **kwargs)

    return _with(_REACH, wrapper)


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add those of `reach_options`, and how many bytes are moved by what."""

    @functools.wraps(function)
    def wrapper(*args: Any, access: Access, transport: str, jobs: int, **kwargs: Any) -> Any:
        access = replace(access, transport=Transport(transport), jobs=jobs)
        return function(*args, access=access, **kwargs)

    return _with(_MOVE, reach_options(wrapper))


_DESTINATION = (
    click.option(
        "--dest-endpoint-url",
        metavar="URL",
        help="S3 endpoint of DEST. [default: that of the sources]",
    ),
    click.option(
        "--dest-profile", metavar="NAME", help="AWS profile for DEST. [default: the sources']"
    ),
)


def destination_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a destination in storage, which become part of the ``access``."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        access: Access,
        dest_endpoint_url: str | None,
        dest_profile: str | None,
        **kwargs: Any,
    ) -> Any:
        access = replace(access, dest_endpoint_url=dest_endpoint_url, dest_profile=dest_profile)
        return function(*args, access=access, **kwargs)

    return _with(_DESTINATION, wrapper)


def _with(
    options: Sequence[Callable[..., Any]], function: Callable[..., Any]
) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


class _Bytes(click.ParamType[int]):
    """A number of bytes, such as 500GB or 1.5TiB."""

    name = "size"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> int:
        from pydantic import ByteSize, TypeAdapter, ValidationError  # slow to import

        try:
            return int(TypeAdapter(ByteSize).validate_python(value))
        except ValidationError:
            self.fail(f"{value!r} is no size; write it as 500GB or 1.5TiB", param, ctx)


BYTES = _Bytes()
"""The type of options that take a size."""
