"""Reports: means with intervals, tables, one HTML page."""
