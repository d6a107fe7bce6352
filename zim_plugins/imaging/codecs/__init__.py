"""Formats that Pillow does not write as they are: OpenEXR, and PNG of 16 bits and of bands."""
