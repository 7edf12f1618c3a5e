"""Where connections and subscriptions are kept: two peers behind ports.Store."""
