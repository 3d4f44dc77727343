"""The command line, `minicnn`: training, evaluating and looking at models without writing a script.

app.py puts the commands together; each stands in a file of its own.
"""

from minicnn.cli.app import app, main

__all__ = ["app", "main"]
