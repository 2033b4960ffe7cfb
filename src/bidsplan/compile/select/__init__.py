"""Selects subjects and files by their names, as pure functions."""
