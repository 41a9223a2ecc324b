"""Train, ablate and evaluate the Two-Stream Appearance Transfer Network (2s-ATN)."""
