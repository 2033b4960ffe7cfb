"""Files that people and bidsplan write: manifests in YAML, plans in JSON Lines, schemas.

Each kind has a module of its own, since reading a plan should not wait for what reads a manifest.
"""
