"""The engines, one a file; `qmodel.live.engine` holds their contract and their registry."""
