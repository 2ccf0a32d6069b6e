"""`qmodel load`: open-loop load on any OpenAI-compatible server, from the scenario's classes."""
