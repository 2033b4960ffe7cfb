"""Files that people and bidsplan write: manifests in YAML, plans in JSON Lines, schemas."""

from __future__ import annotations

from bidsplan.files.manifests import ManifestFile, load_manifest
from bidsplan.files.plans import default_plan_path, read_plan, write_plan

__all__ = ["ManifestFile", "default_plan_path", "load_manifest", "read_plan", "write_plan"]
