"""One module a row: its prose, its settings, and the relations its answers must satisfy."""
