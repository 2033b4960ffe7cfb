"""Provides datasets from a cache that the processes of a machine share."""
