"""What `zim evaluate` scores, and how: matting sets, the run, the scores of an object."""
