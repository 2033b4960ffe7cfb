"""Exports a plan in the forms of other tools.

`base` says what a format is, and `formats` lists those that there are; each has a module.
"""
