"""What tests share: the core in memory, and a table on a real API."""
