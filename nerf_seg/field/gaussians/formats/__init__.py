"""Files of splats, one module for each format; `files` reads them by their content."""
