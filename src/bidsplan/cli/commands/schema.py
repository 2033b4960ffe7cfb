"""``bidsplan schema``."""

from __future__ import annotations

import click

from bidsplan.cli import options


@click.command(
    "schema",
    epilog=options.examples(
        "bidsplan schema manifest > manifest.schema.json",
        "bidsplan schema report",
    ),
)
@click.argument("what", type=click.Choice(["manifest", "plan", "report"]))
@options.settings_of()
def command(what: str, **_: object) -> None:
    """Print the JSON Schema of a manifest, of a plan's lines, or of those of fetch --json.

    Editors that support YAML's language server check manifests with it.
    """
    from bidsplan.cli.json_schemas import schema_text  # imports pydantic

    click.echo(schema_text(what), nl=False)
