"""The two-stream generator, its parts, and the discriminators."""
