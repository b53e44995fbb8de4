"""The report of a run: one HTML file that needs no network. `python -m ray_jobs.report runs/<name>` writes it anew."""
