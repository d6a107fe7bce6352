"""Conversion of masks to mattes, over whole data sets."""
