"""The contract: Avro schemas, typed records, the codec and the topic catalogue. Imports nobody."""
