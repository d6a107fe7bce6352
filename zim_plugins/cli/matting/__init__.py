"""What `zim matte` is made of: objects of an image, lists of them, frames, and what is written."""
