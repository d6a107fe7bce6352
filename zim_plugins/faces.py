"""Lazy faces of packages: their public names, each loaded from the module that holds it when it is first asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_face(package: str, homes: Mapping[str, str]) -> tuple[list[str], Callable[[str], object]]:
    """Return a package's `__all__` and `__getattr__`.

    Args:
        package: its name.
        homes: public names, by the module below the package that holds them.

    >>> names, get = lazy_face("zim_plugins", {"errors": "ImageError ZimError"})
    >>> names, get("ZimError").__name__
    (['ImageError', 'ZimError'], 'ZimError')
    """
    home = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return sorted(home), get
