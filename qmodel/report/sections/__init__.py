"""The sections of a study's report, one module each: from what the study found to blocks of the document."""
