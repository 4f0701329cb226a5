"""What a record is: Avro schemas, a typed record for each, control records, templates, ids, the codec."""
