"""A closed table of named things; a wrong name is answered with the closest ones."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .errors import ConfigError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names that a configuration may use to objects of one kind.

    Args:
        kind: what the names stand for, in the singular ("backbone"); used in messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that files its object under ``name``.

        Raises:
            ValueError: if the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Returns the entry of that name.

        Raises:
            ConfigError: if there is none; names the closest and all known ones.
        """
        if name not in self._entries:
            hint = did_you_mean(name, self._entries) or "."
            raise ConfigError(f"unknown {self.kind} {name!r}{hint} Known: {', '.join(sorted(self._entries))}.")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))
