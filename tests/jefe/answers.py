"""Answers of the core as the JSON objects that clients get, for tests that look at those."""

import json

from jefe.fronts.objects import line_of


def told(run):
    """What whoever asked for a run is told of its end."""
    return json.loads(line_of(run.answer))
