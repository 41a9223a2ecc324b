"""From a data set's official download to the folder that the trainer reads."""
