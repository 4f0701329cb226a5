"""The Kafka runtime that the services share."""
