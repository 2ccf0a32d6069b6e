"""`qmodel serve`: an engine behind an OpenAI-compatible streaming endpoint, under the scenario's policy object."""
