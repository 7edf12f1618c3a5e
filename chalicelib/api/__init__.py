"""HTTP: Blueprints that parse, call the notifier and map the outcome."""
