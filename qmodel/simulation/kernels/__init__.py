"""The event loops, compiled. Each takes whole columns of requests and fills the columns of a log."""
