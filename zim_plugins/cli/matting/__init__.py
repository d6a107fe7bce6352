"""Parts of `zim matte`: objects of an image, lists of them, frames, and results."""
