"""`python -m ray_jobs.report runs/<name>`."""

from ray_jobs.report.write import main

if __name__ == "__main__":
    raise SystemExit(main())
