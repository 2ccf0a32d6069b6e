"""The sections of a study's report, one module each: each turns what the study found into blocks of the document."""
