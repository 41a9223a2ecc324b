"""From a checkpoint to images, and from images to values."""
