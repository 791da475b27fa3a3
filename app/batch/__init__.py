"""Read archives: more pictures than one sitting holds, in shards that are done once each."""
