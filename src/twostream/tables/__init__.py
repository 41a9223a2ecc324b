"""Tables of the paper from the runs' results: reads JSON and YAML only, writes Markdown, CSV and LaTeX."""
