"""The report: one document model, three writers (Markdown, LaTeX, Typst to PDF), and the figures."""
