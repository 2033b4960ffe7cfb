"""Manifests as YAML, made of what a program says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping


_WIDTH = 96


class _Dumper(yaml.SafeDumper):
    """Writes what is said twice twice: a manifest may have no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Say that no value is worth an alias."""
        return True


def manifest_yaml(document: Mapping[str, object]) -> str:
    """Write a manifest's fields as YAML.

    Parameters
    ----------
    document : mapping
        As people write a manifest: mappings, lists and scalars.

    Returns
    -------
    str
        What YAML would take for something else than text is quoted.

    Examples
    --------
    >>> print(manifest_yaml({"subjects": {"include": ["01", "NDAR"]}}), end="")
    subjects:
      include: ['01', NDAR]
    """
    return yaml.dump(
        dict(document),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=_WIDTH,
    )
