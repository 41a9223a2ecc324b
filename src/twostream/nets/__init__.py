"""The two-stream generator and its modules, PATN, and the discriminators."""
