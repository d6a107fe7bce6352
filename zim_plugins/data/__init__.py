"""Data on disk: an index of pictures and mattes, readers of published layouts, checks, shards of mattes."""
