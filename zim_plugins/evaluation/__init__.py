"""Evaluation: any Predictor, any matting set, and a report that says how each number came about."""
