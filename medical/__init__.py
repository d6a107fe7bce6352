"""Medical images: mattes of slices and volumes from clicks and boxes."""
