"""Where records live: settings, topics as data, create and verify, partitioning, and the embedded Kafka."""
