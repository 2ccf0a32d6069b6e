"""A streaming client of OpenAI-compatible servers: a server and its kind, a request sent and read, prompts."""
