"""Compiles a manifest and a study's listing into a plan."""
