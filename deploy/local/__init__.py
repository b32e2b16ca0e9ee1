"""The local stack: a real Kafka broker and a real schema registry on loopback, fetched against a lock."""
