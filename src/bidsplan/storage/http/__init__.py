"""Directories on web servers."""
