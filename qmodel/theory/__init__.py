"""Answers by queueing analysis: `analyse` picks the strongest result there is, or says why there is none."""
