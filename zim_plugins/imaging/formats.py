"""One list of image formats: what is read, wherever a file is named or found, what is written, and what needs more."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from zim_plugins.errors import ImageError, MissingImagePlugin

PILLOW_FORMATS = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp",),
    "DDS": (".dds",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "ICNS": (".icns",),
    "ICO": (".ico",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "MPO": (".mpo",),
    "PCX": (".pcx",),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".bw", ".rgb", ".rgba", ".sgi"),
    "SUN": (".ras",),
    "TGA": (".icb", ".tga", ".vda", ".vst"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
"""Formats that Pillow reads by itself, in its own words, with the suffixes that folders are searched for."""


@dataclass(frozen=True)
class Plugin:
    """A package that reads one more format."""

    module: str
    """What is imported."""
    package: str
    """What is installed."""
    format: str
    """In Pillow's words."""
    suffixes: tuple[str, ...]
    extra: str
    """The extra of this project that brings it."""

    @property
    def is_here(self) -> bool:
        """Return whether the package is installed."""
        return importlib.util.find_spec(self.module) is not None


PLUGINS = (
    Plugin("pillow_heif", "pillow-heif", "HEIF", (".heic", ".heics", ".heif", ".heifs", ".hif"), "formats"),
    Plugin("pillow_jxl", "pillow-jxl-plugin", "JXL", (".jxl",), "formats"),
    Plugin("OpenEXR", "OpenEXR", "EXR", (".exr",), "vfx"),
)
"""Formats that an extra brings: HEIC and HEIF, JPEG XL, OpenEXR."""
IMAGE_SUFFIXES = tuple(
    sorted({s for known in PILLOW_FORMATS.values() for s in known} | {s for p in PLUGINS for s in p.suffixes})
)
"""What counts as an image when a folder is given; a format whose plug-in is missing fails by name."""
READ = ", ".join(sorted(name.lower() for name in (*PILLOW_FORMATS, *(p.format for p in PLUGINS))))
"""The formats as messages list them."""
UNREAD = (
    *(".3fr", ".ai", ".arw", ".cdr", ".cr2", ".cr3", ".dng", ".eps", ".erf", ".hdr", ".kra", ".nef", ".nrw", ".orf"),
    *(".pdf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srw", ".svg", ".wmf", ".xcf"),
)
"""Images of kinds that are not read here: raw files of cameras, drawings, projects of editors."""
WRITERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""Formats that `write_image` writes, by suffix."""
HEAD_BYTES = 32
"""How much of a file's beginning `plugin_for` looks at."""
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_EXR_MAGIC, _JXL_MAGICS = b"\x76\x2f\x31\x01", (b"\xff\x0a", b"\0\0\0\x0cJXL ")


def is_image(path: str | Path) -> bool:
    """Return whether a file's name is that of an image which is read here.

    >>> is_image("IMG_0001.HEIC"), is_image("notes.txt")
    (True, False)
    """
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def plugin_for(head: bytes) -> Plugin | None:
    """Return what reads a file, by its first `HEAD_BYTES`; None where Pillow reads it by itself, or nothing does.

    >>> plugin_for(bytes([0x76, 0x2F, 0x31, 0x01])).package
    'OpenEXR'
    """
    heif, jxl, exr = PLUGINS
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head[8:HEAD_BYTES]:
        return heif
    if head.startswith(_JXL_MAGICS):
        return jxl
    return exr if head.startswith(_EXR_MAGIC) else None


def prepare_plugin(plugin: Plugin, name: str) -> None:
    """Let Pillow read one more format.

    Raises:
        MissingImagePlugin: the package is not installed; the message says how it is.
        ImageError: it cannot be loaded.
    """
    if not plugin.is_here:
        raise MissingImagePlugin(
            f"{name} is {plugin.format}, which needs {plugin.package}: pip install 'zim-plugins[{plugin.extra}]'"
        )
    try:
        if plugin.format == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        elif plugin.format == "JXL":
            import pillow_jxl  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except (ImportError, OSError) as error:
        raise ImageError(f"{name} needs {plugin.package}, which cannot be loaded: {error}") from error


def readable_formats() -> list[str]:
    """Return the formats that `PIL.Image.open` may try: those of the list that are present, and no other."""
    import PIL.Image

    PIL.Image.init()
    return [name for name in (*PILLOW_FORMATS, *(plugin.format for plugin in PLUGINS)) if name in PIL.Image.OPEN]
