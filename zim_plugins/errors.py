"""Errors, one class per remedy."""


class ZimError(Exception):
    """Base of every error that this project raises on purpose."""


class MissingPackage(ZimError, ImportError):
    """A package that is needed is not installed; the message says how it is. Commands exit with 2."""


class MissingExtra(MissingPackage):
    """An optional dependency is not installed.

    Args:
        package: what could not be imported.
        extra: the extra of `zim-plugins` that brings it.

    Example:
        >>> print(MissingExtra("nibabel", "medical"))
        this needs nibabel: pip install 'zim-plugins[medical]'
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs {package}: pip install 'zim-plugins[{extra}]'")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        """Say what makes it anew in another process."""
        return type(self), (self.package, self.extra)


class UnsupportedPrompt(ZimError, ValueError):
    """The chosen model cannot serve this kind of prompt; nothing was dropped in silence."""


class CheckpointError(ZimError):
    """A checkpoint is missing, damaged or of another kind than expected."""


class ImageError(ZimError, ValueError):
    """An image could not be read or written; the message names the file and the reason."""


class MissingImagePlugin(ImageError, MissingPackage):
    """An image is of a format whose package is not installed; the message names the file and the remedy."""


class SharedAcrossThreads(ZimError, RuntimeError):
    """Two threads used one predictor that remembers an image; nobody was given the other's matte."""
