"""One file per runtime; nothing is imported until a predictor is built."""
