"""Medical images: promptable models on slices and volumes, measured: `zim-medseg`. Importing it loads nothing heavy."""
