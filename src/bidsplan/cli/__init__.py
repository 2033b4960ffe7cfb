"""The command line: parses arguments, makes one call, prints, and exits.

Results go to standard output; warnings, progress and errors go to standard error.
"""
