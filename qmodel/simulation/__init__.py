"""Answers by discrete events, with honest intervals."""
