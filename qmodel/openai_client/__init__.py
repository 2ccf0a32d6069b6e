"""A streaming client of OpenAI-compatible servers: what a server is, a request sent and read, prompts of a length."""
