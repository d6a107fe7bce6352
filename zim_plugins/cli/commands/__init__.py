"""Commands of `zim`, one file each."""
