"""One server and orders that know no sizes: first or last come, priorities, sharing."""
