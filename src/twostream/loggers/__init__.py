"""Where the curves of a run are logged: a CSV file, Weights & Biases."""
