"""Exports a plan in the forms of other tools.

The module `base` defines what a format is, and `formats` lists all formats, each of which has its
own module.
"""
