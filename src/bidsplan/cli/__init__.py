"""The command line: parse, make one call, print, exit.

Results go to standard output; warnings, progress and errors go to standard error.
"""
