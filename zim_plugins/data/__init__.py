"""Data on disk: an index of images and mattes, readers of published layouts, checks, shards of mattes."""
