"""One module a tool; each reader is one line in `qmodel.interop.registry`."""
