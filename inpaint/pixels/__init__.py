"""Pure functions on pixels: holes, crops, tiles, and the colours behind soft edges."""
