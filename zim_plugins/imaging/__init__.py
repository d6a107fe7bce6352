"""Images as files and as pixels: reading, writing, colours of a matte's edge. Knows no model."""

from zim_plugins.imaging.encode import write_raster as write_raster
from zim_plugins.imaging.files import atomic_path as atomic_path
from zim_plugins.imaging.files import atomic_write as atomic_write
from zim_plugins.imaging.files import write_text as write_text
from zim_plugins.imaging.foreground import composite as composite
from zim_plugins.imaging.foreground import estimate_foreground as estimate_foreground
from zim_plugins.imaging.foreground import foreground_colours as foreground_colours
from zim_plugins.imaging.foreground import unmix_background as unmix_background
from zim_plugins.imaging.formats import is_image as is_image
from zim_plugins.imaging.image import Image as Image
from zim_plugins.imaging.image import read_alpha as read_alpha
from zim_plugins.imaging.image import read_image as read_image
from zim_plugins.imaging.image import write_image as write_image
from zim_plugins.imaging.masks import Mask as Mask
from zim_plugins.imaging.masks import mask_path as mask_path
from zim_plugins.imaging.masks import read_mask as read_mask
from zim_plugins.imaging.raster import Original as Original
from zim_plugins.imaging.raster import Raster as Raster
from zim_plugins.imaging.raster import read_original as read_original
from zim_plugins.imaging.results import check_inputs_are_spared as check_inputs_are_spared
from zim_plugins.imaging.sources import expand_inputs as expand_inputs
from zim_plugins.imaging.sources import output_stems as output_stems
