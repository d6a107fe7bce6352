"""Scoring of `zim evaluate`: matting sets, the run, the scores of an object."""
