"""The demo: a page in the browser that puts a person into a pose, and the server behind it."""
