CREATE SOURCE s (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', batch_format = 'avro', csv_delimiter = '||', stream = 5);
