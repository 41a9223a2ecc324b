"""Numbers on generated images, each under a named protocol."""
