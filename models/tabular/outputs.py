"""What graphs of rows answer, by name; apart, so that whoever asks a bundle needs no package that makes one."""

from __future__ import annotations

PROBABILITIES, LABEL, VALUE, CLUSTER = "probabilities", "label", "value", "cluster"
OUTPUTS = (PROBABILITIES, LABEL, VALUE, CLUSTER)
