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
    """Print the JSON Schema of manifests, of a plan's lines, or of the lines of fetch --json.

    Editors with a YAML language server can use the schema to check manifests.
    """
    from bidsplan.cli.json_schemas import schema_text  # imports pydantic

    click.echo(schema_text(what), nl=False)
