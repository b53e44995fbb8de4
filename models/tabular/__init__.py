"""Models of rows: networks, boosted and grown trees, linear models, clusterings; and what they share."""
