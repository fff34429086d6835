"""The version of this program, as the import root (``src/segfoundry/__init__.py``) says it."""

from importlib import import_module

__version__: str = import_module(__name__.partition(".")[0]).__version__
