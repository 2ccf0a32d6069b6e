"""Orders by size or age, with their laws: SJF, PSJF, SRPT, LAS, multilevel feedback."""
