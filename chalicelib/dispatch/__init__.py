"""Ways to get shards drained, behind ports.Dispatcher."""
